"""How LLaMA-Factory's training goes: its log to our observer, its checkpoints sealed as ours."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from configs.errors import RunError
from tasks.records.writing import read_json
from tasks.training.callbacks import Reporter
from tasks.training.checkpoints import (
    DIGEST_FILE,
    NAME,
    STATE_FILE,
    link_checkpoints,
    seal_checkpoint,
)
from tasks.training.engine import compute_perplexity
from tasks.training.job import TrainingJob

TRAINER_LOG = "trainer_log.jsonl"
NAMES = {
    "loss": "loss",
    "eval_loss": "eval_loss",
    "lr": "learning_rate",
    "epoch": "epoch",
    "reward": "reward",
    "throughput": "tokens_per_second",
}
RECORDED = ("loss", "grad_norm", "learning_rate", "reward", "eval_loss", "epoch")


class Progress:
    """Follows a training in its folder of checkpoints.

    Args:
        job: The job that is trained.
    """

    def __init__(self, job: TrainingJob) -> None:
        self.folder = job.checkpoints
        self.digest = job.digest
        self.total = job.plan.num_steps
        self.reporter = Reporter(job.observer)
        self._offset = 0

    def look(self) -> None:
        """Report what was logged since the last time, and seal what was saved.

        Raises:
            RunError: A loss is not finite.
        """
        seal_checkpoints(self.folder, self.digest)
        for line in self._read_lines():
            step, metrics = line["current_steps"], read_metrics(line)
            self.reporter.on_step_end(None, self._state(step), None)
            if metrics:
                self.reporter.on_log(None, self._state(step), None, logs=metrics)
            check_finite(step, metrics)

    def _state(self, step: int) -> SimpleNamespace:
        return SimpleNamespace(global_step=step, max_steps=self.total)

    def _read_lines(self) -> list[dict[str, Any]]:
        """Return the lines that are complete and new."""
        path = self.folder / TRAINER_LOG
        if not path.is_file():
            return []
        with path.open("rb") as file:
            file.seek(self._offset)
            complete, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(complete) + len(newline)
        return [json.loads(line) for line in complete.splitlines()]


def read_metrics(line: dict[str, Any]) -> dict[str, float]:
    """Return the metrics of a line of its log under our names.

    >>> read_metrics({"current_steps": 4, "loss": 3.0, "lr": 0.1, "elapsed_time": "0:00:01"})
    {'loss': 3.0, 'learning_rate': 0.1}
    """
    found = {ours: line[theirs] for theirs, ours in NAMES.items() if theirs in line}
    if "eval_loss" in found:
        found["eval_perplexity"] = compute_perplexity(found["eval_loss"])
    return found if found.keys() - {"epoch", "tokens_per_second"} else {}


def check_finite(step: int, metrics: dict[str, float]) -> None:
    """Refuse a loss that is no number.

    Raises:
        RunError: With the step.
    """
    for name in ("loss", "eval_loss"):
        if not math.isfinite(metrics.get(name, 0.0)):
            raise RunError(
                where=f"step {step}",
                message=f"the {name} is {metrics[name]}",
                hint="lower training.learning_rate",
            )


def seal_checkpoints(folder: Path, digest: str) -> None:
    """Write the digests of every checkpoint that is complete and has none.

    Its trainer writes the state last, so a state that can be read means complete.

    Args:
        folder: Holds `checkpoint-N` folders, which come and go meanwhile.
        digest: Digest of what determines the training.
    """
    for path in sorted(folder.glob("checkpoint-*")):
        if not NAME.match(path.name) or (path / DIGEST_FILE).exists():
            continue
        try:
            state = read_json(path / STATE_FILE)
            seal_checkpoint(path, digest)
        except (OSError, ValueError):  # not complete yet, or already removed for a newer one
            continue
        step = state["global_step"]
        link_checkpoints(folder, step=step, best_step=state["best_global_step"] or step)


def remove_rest(folder: Path, step: int) -> None:
    """Remove what an interrupted attempt left beyond the checkpoint that is gone on from.

    Args:
        folder: Holds `checkpoint-N` folders and the files of the last attempt.
        step: The step of that checkpoint; 0 for none.
    """
    for path in sorted(folder.glob("*")):
        match = NAME.match(path.name)
        if path.is_symlink() or (match and int(match[1]) <= step and (path / DIGEST_FILE).exists()):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def read_history(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the logged records of a training that are the same in every repetition."""
    history = []
    for logged in state["log_history"]:
        record = {name: logged[name] for name in RECORDED if name in logged}
        if "eval_loss" in record:
            record["eval_perplexity"] = compute_perplexity(record["eval_loss"])
        if record.keys() - {"epoch"}:
            history.append(record | {"step": logged["step"]})
    return history


def is_stopped_early(state: dict[str, Any], patience: int | None) -> bool:
    """Return whether a training ended because the validation loss no longer improved."""
    stopper = state["stateful_callbacks"].get("EarlyStoppingCallback", {})
    count = stopper.get("attributes", {}).get("early_stopping_patience_counter", 0)
    return patience is not None and count >= patience


def measure_throughput(state: dict[str, Any], before: dict[str, Any] | None) -> float | None:
    """Return the real tokens a second of this process, or None where it logged nothing.

    Args:
        state: At the end.
        before: At the checkpoint that was gone on from, or None.
    """
    logged = [record for record in state["log_history"] if "train_tokens_per_second" in record]
    seen = before["num_input_tokens_seen"] if before else 0
    if not logged or logged[-1]["num_input_tokens_seen"] <= seen:
        return None
    last = logged[-1]
    return float((last["num_input_tokens_seen"] - seen) / last["train_runtime"])
