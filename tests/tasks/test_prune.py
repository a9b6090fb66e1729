from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from configs.retention import RetentionConfig
from tasks import prune
from tasks.prune import Pruning, prune_home
from tasks.publishing import local
from tasks.publishing.candidates import Lineage
from tasks.records.entries import write_entry
from tasks.records.handles import Handle, PinnedModel
from tasks.records.locks import hold_lock
from tasks.records.runs import RunFolder, link_results, write_run_manifest
from tasks.records.writing import write_json
from tests.flows.running import ROOT, make_environment

DAY = 86_400
DIGESTS = {name: str(number) * 32 for number, name in enumerate(("train", "format", "version"))}


def make_entry(home: Path, stage: str, digest: str, days: float, *, num_bytes: int = 8192) -> str:
    """Make a complete result that was used so many days ago; return its path."""
    path = f"cache/{stage}/{digest}"
    entry = home / path
    entry.mkdir(parents=True)
    (entry / "content").write_bytes(b"x" * num_bytes)
    write_entry(entry, Handle(path=path, digest="d"), {"stage": stage})
    set_age(entry, days)
    return path


def set_age(place: Path, days: float) -> None:
    then = time.time() - days * DAY
    for path in (*place.rglob("*"), place):
        if not path.is_symlink():
            os.utime(path, (then, then))


def make_run(home: Path, name: str, days: float, handles: dict[str, Any] | None = None) -> Path:
    run = RunFolder(path=f"outputs/runs/{name}")
    run.folder.mkdir(parents=True)
    (run.folder / "config.yaml").write_text("purpose: test\n")
    write_run_manifest(run, {"handles": handles or {}})
    set_age(run.folder, days)
    return run.folder


def publish(home: Path, run: str) -> None:
    base = PinnedModel(name="b", revision="r" * 40, location="b")
    lineage = Lineage(
        name="small", candidate_digest="c", model_files=(), base=base, method="lora",
        dtype="float32", kind="messages", template_digest="t", data_source="d", data_commit="c",
        splits={}, run=run, code_revision="r", decision_digest="d", replaces=None, versions={},
    )  # fmt: skip
    write_json(home / "artifacts/models/small/1" / local.LINEAGE, lineage.model_dump(mode="json"))


def list_paths(result: Pruning) -> set[str]:
    return {item.path for item in result.removed}


def find_why(result: Pruning, path: str) -> str:
    [why] = [item.why for item in result.kept if item.path == path]
    return why


def test_old_runs_and_what_only_they_had_go(home: Path) -> None:
    shared = make_entry(home, "format", "a" * 32, 50)
    lone = make_entry(home, "train", "b" * 32, 50)
    recent = make_entry(home, "decide", "c" * 32, 1)
    old = make_run(home, "20260101T000000Z-aaaaaa", 50,
                   {"format": {"path": shared}, "train": {"path": lone}})  # fmt: skip
    new = make_run(home, "20260201T000000Z-bbbbbb", 1, {"format": {"path": shared}})
    result = prune_home(RetentionConfig())
    assert list_paths(result) == {"outputs/runs/20260101T000000Z-aaaaaa", lone}
    assert not old.exists()
    assert not (home / lone).exists()
    assert new.is_dir()
    assert (home / shared).is_dir()
    assert find_why(result, shared) == "a run that stays has it"
    assert find_why(result, recent) == "within the limits"
    assert find_why(result, "outputs/runs/20260201T000000Z-bbbbbb") == "the newest run"
    assert result.num_bytes_before - result.num_bytes >= 8192


def test_what_explains_a_published_model_stays_without_its_checkpoints(home: Path) -> None:
    train = make_entry(home, "train", "a" * 32, 99)
    report = make_entry(home, "report", "b" * 32, 99)
    (home / train / "checkpoints" / "step-5").mkdir(parents=True)
    (home / train / "checkpoints" / "step-5" / "optimizer.pt").write_bytes(b"x" * 9000)
    set_age(home / train, 99)
    run = make_run(home, "20260101T000000Z-aaaaaa", 99, {"train": {"path": train}})
    link_results(RunFolder(path="outputs/runs/20260101T000000Z-aaaaaa"),
                 {"report.md": home / report / "content"})  # fmt: skip
    set_age(run, 99)
    make_run(home, "20260201T000000Z-bbbbbb", 99)
    make_run(home, "20260301T000000Z-cccccc", 99)
    publish(home, run.name)
    result = prune_home(RetentionConfig(older_than_days=0, keep=1, max_gb=1e-6))
    assert list_paths(result) == {f"{train}/checkpoints", "outputs/runs/20260201T000000Z-bbbbbb"}
    assert (run / "report.md").read_bytes() == b"x" * 8192
    assert (home / train / "content").is_file()
    assert find_why(result, f"outputs/runs/{run.name}") == "it explains a published model"
    assert not result.is_within


@pytest.mark.parametrize(
    ("handles", "question", "why"),
    [
        ({"decide": {"verdict": "better"}}, None, "it is better and not published yet"),
        ({"decide": {"verdict": "better"}}, "waiting", "it waits for approval"),
    ],
)
def test_a_run_that_may_yet_be_published_stays(
    home: Path, handles: dict[str, Any], question: str | None, why: str
) -> None:
    run = make_run(home, "20260101T000000Z-aaaaaa", 99, handles)
    if question:
        write_json(run / "approval.json", {"state": question})
    make_run(home, "20260201T000000Z-bbbbbb", 1)
    result = prune_home(RetentionConfig(older_than_days=0))
    assert find_why(result, f"outputs/runs/{run.name}") == why
    assert result.removed == ()


def test_only_so_many_runs_stay(home: Path) -> None:
    for number in range(5):
        make_run(home, f"2026010{number}T000000Z-aaaaaa", 9 - number)
    result = prune_home(RetentionConfig(keep=2))
    assert sorted(p.name[:8] for p in (home / "outputs/runs").iterdir()) == ["20260103", "20260104"]
    assert {item.why for item in result.removed} == {"there are 2 newer ones"}


def test_the_longest_unused_goes_first_when_there_is_too_much(home: Path) -> None:
    paths = [make_entry(home, "train", d * 32, days, num_bytes=10**6)
             for d, days in (("a", 3), ("b", 2), ("c", 1))]  # fmt: skip
    result = prune_home(RetentionConfig(max_gb=0.0015))
    assert list_paths(result) == set(paths[:2])
    assert result.is_within
    assert result.num_bytes < 1.5e6


def test_a_dry_run_removes_nothing(home: Path) -> None:
    path = make_entry(home, "train", "a" * 32, 99)
    dry = prune_home(RetentionConfig(), dry_run=True)
    assert list_paths(dry) == {path}
    assert (home / path).is_dir()
    done = prune_home(RetentionConfig())
    assert abs(dry.num_bytes - done.num_bytes) < 10_000  # but for the files of the pruning itself


def test_raw_files_that_no_version_has_go(home: Path) -> None:
    blobs = home / "cache" / "blobs"
    blobs.mkdir(parents=True)
    version = make_entry(home, "version", "a" * 32, 1)
    held = json.loads((home / version / "manifest.json").read_text())["files"]["content"]
    for name in (held, "f" * 64):
        (blobs / name).write_bytes(b"x")
    set_age(blobs, 40)
    result = prune_home(RetentionConfig())
    assert list_paths(result) == {f"cache/blobs/{'f' * 64}"}
    assert (blobs / held).is_file()


def test_what_is_in_use_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = make_entry(home, "train", "a" * 32, 99)
    leased = make_entry(home, "format", "b" * 32, 2)
    free = make_entry(home, "format", "c" * 32, 5)
    monkeypatch.setattr(prune, "find_oldest_lease", lambda: time.time() - 3 * DAY)
    with hold_lock(home / f"{locked}.lock", "a training"):
        set_age(home / "cache" / "train", 99)
        result = prune_home(RetentionConfig(older_than_days=0))
    assert list_paths(result) == {free}
    assert find_why(result, locked) == "somebody works on it"
    assert find_why(result, leased) == "another process may be using it"


KILLED = """
import os, signal
from pathlib import Path
from tasks.records import disk
from tasks import prune
from configs.retention import RetentionConfig
moved = disk.move_to_trash
count = [0]
def move(*arguments):
    count[0] += 1
    if count[0] == {limit}:
        os.kill(os.getpid(), signal.SIGKILL)
    return moved(*arguments)
prune.move_to_trash = move
prune.empty_trash = lambda root: os.kill(os.getpid(), signal.SIGKILL)
prune.prune_home(RetentionConfig())
"""


@pytest.mark.parametrize("limit", [2, 99])
def test_a_killed_pruning_leaves_nothing_half(home: Path, limit: int) -> None:
    paths = [make_entry(home, "train", d * 32, 99) for d in "abc"]
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(limit=limit)], cwd=ROOT, check=False,
        env=make_environment(home),
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    left = [path for path in paths if (home / path).exists()]
    assert len(left) == (2 if limit == 2 else 0)
    assert all((home / path / "manifest.json").is_file() for path in left)
    assert list((home / "cache" / ".trash").iterdir())
    assert list_paths(prune_home(RetentionConfig())) == set(left)
    assert not (home / "cache" / ".trash").exists()
