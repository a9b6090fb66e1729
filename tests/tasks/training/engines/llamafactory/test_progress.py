"""What LLaMA-Factory logs and saves, followed as it comes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from configs.errors import RunError
from tasks.training.checkpoints import explain_damage, find_newest_checkpoint
from tasks.training.engines.llamafactory.progress import (
    TRAINER_LOG,
    Progress,
    is_stopped_early,
    measure_throughput,
    read_history,
    remove_rest,
    seal_checkpoints,
)
from tests.tasks.training.test_train import Recorder

LINES: list[dict[str, Any]] = [
    {"current_steps": 4, "total_steps": 8, "loss": 3.0, "lr": 0.1, "epoch": 0.5},
    {"current_steps": 4, "total_steps": 8, "eval_loss": 2.0, "epoch": 0.5, "percentage": 50.0},
    {"current_steps": 8, "total_steps": 8, "epoch": 1.0, "throughput": 400.0},
]
STATE: dict[str, Any] = {
    "global_step": 4,
    "best_global_step": 4,
    "stateful_callbacks": {
        "EarlyStoppingCallback": {"attributes": {"early_stopping_patience_counter": 2}}
    },
    "log_history": [
        {"step": 4, "epoch": 0.5, "loss": 3.0, "grad_norm": 1.0, "learning_rate": 0.1,
         "num_input_tokens_seen": 300, "train_runtime": 2.0, "train_tokens_per_second": 150.0},
        {"step": 4, "epoch": 0.5, "eval_loss": 0.0, "eval_runtime": 0.2},
        {"step": 8, "epoch": 1.0, "num_input_tokens_seen": 600, "train_runtime": 5.0},
    ],
}  # fmt: skip


def follow(folder: Path) -> tuple[Progress, Recorder]:
    observer = Recorder()
    job: Any = SimpleNamespace(
        checkpoints=folder / "checkpoints", out=folder, digest="d", observer=observer,
        plan=SimpleNamespace(num_steps=8),
    )  # fmt: skip
    job.checkpoints.mkdir()
    return Progress(job), observer


def save(folder: Path, step: int, state: dict[str, Any] | None = None) -> Path:
    """Write a checkpoint as it does; without a state it is not complete."""
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "adapter_model.safetensors").write_bytes(bytes(step))
    if state is not None:
        (path / "trainer_state.json").write_text(json.dumps(state | {"global_step": step}))
    return path


def test_lines_are_reported_once_and_only_when_complete(tmp_path: Path) -> None:
    progress, observer = follow(tmp_path)
    progress.look()
    assert observer.progress == []
    text = "".join(json.dumps(line) + "\n" for line in LINES)
    log = tmp_path / "checkpoints" / TRAINER_LOG
    log.write_text(text[:-20])
    progress.look()
    progress.look()
    assert observer.progress == [(4, 8, "step"), (4, 8, "step")]
    log.write_text(text)
    progress.look()
    assert observer.progress[-1] == (8, 8, "step")
    assert [step for step, _ in observer.metrics] == [4, 4]
    assert observer.metrics[0][1] == {"loss": 3.0, "learning_rate": 0.1, "epoch": 0.5}
    assert observer.metrics[1][1]["eval_perplexity"] == pytest.approx(7.389, rel=1e-3)


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_loss_that_is_no_number_ends_it(tmp_path: Path, value: str) -> None:
    progress, _ = follow(tmp_path)
    line = f'{{"current_steps": 6, "total_steps": 8, "loss": {value}, "lr": 0.1}}\n'
    (tmp_path / "checkpoints" / TRAINER_LOG).write_text(line)
    with pytest.raises(RunError, match=r"step 6: the loss is (nan|inf)"):
        progress.look()


def test_complete_checkpoints_are_sealed(tmp_path: Path) -> None:
    save(tmp_path, 4, STATE)
    half = save(tmp_path, 8)
    seal_checkpoints(tmp_path, "d")
    assert explain_damage(tmp_path / "checkpoint-4", "d") == ""
    assert explain_damage(half, "d")
    assert (tmp_path / "last").resolve().name == "checkpoint-4"
    (half / "trainer_state.json").write_text('{"global_step": 8, "best')
    seal_checkpoints(tmp_path, "d")
    assert explain_damage(half, "d")
    found = find_newest_checkpoint(tmp_path, "d")
    assert found
    assert (found.step, found.best_step) == (4, 4)


def test_rest_of_an_attempt_goes(tmp_path: Path) -> None:
    save(tmp_path, 4, STATE)
    seal_checkpoints(tmp_path, "d")
    save(tmp_path, 2)
    save(tmp_path, 8, STATE)
    (tmp_path / TRAINER_LOG).write_text("{}\n")
    remove_rest(tmp_path, 4)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["best", "checkpoint-4", "last"]
    remove_rest(tmp_path, 0)
    assert not (tmp_path / "checkpoint-4").exists()


def test_history_is_the_same_in_every_repetition() -> None:
    assert read_history(STATE) == [
        {"loss": 3.0, "grad_norm": 1.0, "learning_rate": 0.1, "epoch": 0.5, "step": 4},
        {"eval_loss": 0.0, "eval_perplexity": 1.0, "epoch": 0.5, "step": 4},
    ]


def test_early_stop_is_known_from_the_state() -> None:
    assert is_stopped_early(STATE, 2)
    assert not is_stopped_early(STATE, 3)
    assert not is_stopped_early(STATE, None)
    assert not is_stopped_early(STATE | {"stateful_callbacks": {}}, 1)


def test_throughput_is_that_of_this_process() -> None:
    assert measure_throughput(STATE, None) == 150.0
    assert measure_throughput(STATE, {"num_input_tokens_seen": 100}) == 100.0
    assert measure_throughput(STATE, {"num_input_tokens_seen": 300}) is None
