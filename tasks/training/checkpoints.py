"""Checkpoints: written with their digests last, verified before use, pruned, linked."""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from configs.errors import RunError
from tasks.records.digests import digest_files, list_files
from tasks.records.writing import read_json, replace_link, write_json

LOG = logging.getLogger("hone")
DIGEST_FILE = "checkpoint_digest.json"
STATE_FILE = "trainer_state.json"
# What the writers of weights, optimiser and records raise where a disk is full.
WRITE_ERRORS = (OSError, RuntimeError, SafetensorError)
NAME = re.compile(r"^checkpoint-(\d+)$")


@dataclass(frozen=True)
class Checkpoint:
    """A complete, undamaged checkpoint.

    Attributes:
        folder: Where its files lie.
        step: The optimiser step after which it was written.
        best_step: The step with the best validation so far; `step` without validation.
        num_bad_validations: Validations since then without improvement.
    """

    folder: Path
    step: int
    best_step: int
    num_bad_validations: int


def name_checkpoint(folder: Path, step: int) -> Path:
    """Return the folder of the checkpoint after an optimiser step."""
    return folder / f"checkpoint-{step}"


def seal_checkpoint(checkpoint: Path, training_digest: str) -> None:
    """Write the digests of a checkpoint's files, last, so that their existence means complete.

    Args:
        checkpoint: The folder, with all its files in place.
        training_digest: Digest of what determines the training; another training never resumes it.
    """
    digests = digest_files(checkpoint, list_files(checkpoint))
    write_json(checkpoint / DIGEST_FILE, {"training": training_digest, "files": digests})


def explain_write_error(checkpoint: Path, err: Exception) -> RunError:
    """Remove what was written of a checkpoint; return what a user can do about it."""
    shutil.rmtree(checkpoint, ignore_errors=True)
    free = shutil.disk_usage(checkpoint.parent).free
    return RunError(
        where=str(checkpoint),
        message=f"the checkpoint cannot be written ({err}); {free / 1e9:.2f} GB are free there",
        hint="free some space and run again: training goes on from the checkpoint before",
    )


def explain_damage(checkpoint: Path, training_digest: str) -> str:
    """Return what is wrong with a checkpoint, or an empty string when it is good."""
    seal = checkpoint / DIGEST_FILE
    if not seal.is_file():
        return f"{DIGEST_FILE} is missing: it was not written to its end"
    try:
        record = read_json(seal)
        expected, training = record["files"], record["training"]
    except (ValueError, KeyError, TypeError):
        return f"{DIGEST_FILE} is damaged"
    if training != training_digest:
        return "it belongs to another training"
    missing = sorted(name for name in expected if not (checkpoint / name).is_file())
    if missing:
        return f"{missing[0]} is missing"
    found = digest_files(checkpoint, expected)
    damaged = sorted(name for name in expected if found[name] != expected[name])
    return f"{damaged[0]} is damaged" if damaged else ""


def find_newest_checkpoint(folder: Path, training_digest: str) -> Checkpoint | None:
    """Return the newest checkpoint that is good, together with the best one that it refers to.

    Those that are passed over are named in the log.

    Args:
        folder: Holds `checkpoint-N` folders; may be missing.
        training_digest: Digest of what determines the training.
    """
    for step, path in sorted(_list_checkpoints(folder).items(), reverse=True):
        if reason := explain_damage(path, training_digest):
            LOG.warning("%s is passed over: %s", path, reason)
            continue
        checkpoint = _read_checkpoint(path, step)
        best = name_checkpoint(folder, checkpoint.best_step)
        if reason := explain_damage(best, training_digest):
            LOG.warning("%s is passed over: its best one, %s: %s", path, best.name, reason)
            continue
        return checkpoint
    return None


def prune_checkpoints(folder: Path, *, step: int, best_step: int, limit: int) -> None:
    """Remove all but the newest checkpoints and the best ones that they refer to.

    Args:
        folder: Holds `checkpoint-N` folders.
        step: The one just written; later ones are remains of a damaged run and do not count.
        best_step: The best one so far, kept as well.
        limit: How many of the newest are kept.
    """
    found = {n: path for n, path in _list_checkpoints(folder).items() if n <= step}
    newest = sorted(found)[-limit:]
    # When the newest is damaged, an older one is resumed from, together with its own best one.
    kept = {*newest, best_step, *(_find_best_step(found[n], n) for n in newest)}
    for n in sorted(set(found) - kept):
        shutil.rmtree(found[n])


def link_checkpoints(folder: Path, *, step: int, best_step: int) -> None:
    """Point `last` and `best` at their checkpoints."""
    replace_link(folder / "last", name_checkpoint(folder, step))
    replace_link(folder / "best", name_checkpoint(folder, best_step))


def _list_checkpoints(folder: Path) -> dict[int, Path]:
    if not folder.is_dir():
        return {}
    named = [(NAME.match(path.name), path) for path in folder.iterdir() if not path.is_symlink()]
    return {int(match[1]): path for match, path in named if match}


def _find_best_step(path: Path, step: int) -> int:
    """Return the best step that a checkpoint refers to; its own when that cannot be read."""
    try:
        return _read_checkpoint(path, step).best_step
    except (OSError, ValueError, KeyError, TypeError):  # it will be passed over as damaged
        return step


def _read_checkpoint(path: Path, step: int) -> Checkpoint:
    state = read_json(path / STATE_FILE)
    patience = state["stateful_callbacks"].get("StopEarly", {})
    return Checkpoint(
        folder=path,
        step=step,
        best_step=state["best_global_step"] or step,
        num_bad_validations=patience.get("attributes", {}).get(
            "early_stopping_patience_counter", 0
        ),
    )
