"""The newest checkpoint that is good is found; damaged ones are named and passed over."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from tasks.training.checkpoints import (
    DIGEST_FILE,
    explain_damage,
    find_newest_checkpoint,
    link_checkpoints,
    name_checkpoint,
    prune_checkpoints,
    seal_checkpoint,
)


def write_checkpoint(folder: Path, step: int, best_step: int | None = None, bad: int = 0) -> Path:
    checkpoint = name_checkpoint(folder, step)
    checkpoint.mkdir(parents=True)
    attributes = {"attributes": {"early_stopping_patience_counter": bad}}
    state = {"best_global_step": best_step, "stateful_callbacks": {"StopEarly": attributes}}
    (checkpoint / "trainer_state.json").write_text(json.dumps(state))
    (checkpoint / "optimizer.pt").write_bytes(b"0123456789")
    seal_checkpoint(checkpoint, "key")
    return checkpoint


def test_newest_good_one_is_found(tmp_path: Path) -> None:
    assert find_newest_checkpoint(tmp_path / "none", "key") is None
    for step in (5, 9, 10):
        write_checkpoint(tmp_path, step, best_step=5, bad=2)
    found = find_newest_checkpoint(tmp_path, "key")
    assert found
    assert (found.step, found.best_step, found.num_bad_validations) == (10, 5, 2)


def damage_content(checkpoint: Path) -> None:
    (checkpoint / "optimizer.pt").write_bytes(b"01234")


def remove_file(checkpoint: Path) -> None:
    (checkpoint / "optimizer.pt").unlink()


def remove_seal(checkpoint: Path) -> None:
    (checkpoint / DIGEST_FILE).unlink()


def cut_seal(checkpoint: Path) -> None:
    (checkpoint / DIGEST_FILE).write_text('{"files": {')


def change_training(checkpoint: Path) -> None:
    seal_checkpoint(checkpoint, "another key")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (damage_content, "optimizer.pt is damaged"),
        (remove_file, "optimizer.pt is missing"),
        (remove_seal, "was not written to its end"),
        (cut_seal, "checkpoint_digest.json is damaged"),
        (change_training, "belongs to another training"),
    ],
)
def test_damaged_one_is_named_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: object, reason: str
) -> None:
    write_checkpoint(tmp_path, 5)
    damage(write_checkpoint(tmp_path, 10))  # type: ignore[operator]
    with caplog.at_level(logging.WARNING, "hone"):
        found = find_newest_checkpoint(tmp_path, "key")
    assert found
    assert found.step == 5
    assert "checkpoint-10" in caplog.text
    assert reason in caplog.text


def test_one_whose_best_is_damaged_is_passed_over(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 5, best_step=5)
    damage_content(write_checkpoint(tmp_path, 10, best_step=10))
    write_checkpoint(tmp_path, 15, best_step=10)
    found = find_newest_checkpoint(tmp_path, "key")
    assert found
    assert found.step == 5


def test_best_and_newest_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 15, 20, 25):
        write_checkpoint(tmp_path, step)
    prune_checkpoints(tmp_path, step=20, best_step=5, limit=2)
    link_checkpoints(tmp_path, step=20, best_step=5)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"checkpoint-5", "checkpoint-15", "checkpoint-20", "checkpoint-25"} | {
        "best",
        "last",
    }
    assert (tmp_path / "best").resolve().name == "checkpoint-5"
    assert (tmp_path / "last").resolve().name == "checkpoint-20"
    assert explain_damage(tmp_path / "best", "key") == ""


def test_best_one_of_an_older_checkpoint_is_kept(tmp_path: Path) -> None:
    """When the newest is damaged, training goes on from the one before, which needs its best."""
    write_checkpoint(tmp_path, 5, best_step=5)
    for step, best_step in ((10, 10), (20, 10), (30, 30)):
        write_checkpoint(tmp_path, step, best_step=best_step)
        prune_checkpoints(tmp_path, step=step, best_step=best_step, limit=2)
    assert {path.name for path in tmp_path.iterdir()} == {
        "checkpoint-10", "checkpoint-20", "checkpoint-30"
    }  # fmt: skip
    damage_content(tmp_path / "checkpoint-30")
    found = find_newest_checkpoint(tmp_path, "key")
    assert found
    assert (found.step, found.best_step) == (20, 10)


def test_pruning_copes_with_a_damaged_checkpoint(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        write_checkpoint(tmp_path, step, best_step=30)
    (tmp_path / "checkpoint-20" / "trainer_state.json").write_text('{"best_glo')
    prune_checkpoints(tmp_path, step=30, best_step=30, limit=2)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-20", "checkpoint-30"}
