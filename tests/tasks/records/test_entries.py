from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from configs.errors import RunError
from tasks.records.digests import digest_folder
from tasks.records.entries import find_entry, read_entry, reuse_or_build
from tasks.records.handles import Handle
from tasks.records.home import find_home

KEY = {"input": "a", "setting": 1}


def build(entry: Path) -> Handle:
    (entry / "part").mkdir()
    (entry / "part" / "result.txt").write_text("42")
    (entry / "log.txt").write_text("changes later")
    return Handle(
        path=entry.relative_to(find_home()).as_posix(), digest=digest_folder(entry / "part")
    )


def run_stage(**options: object) -> Handle:
    return reuse_or_build("stage", KEY, Handle, build, exclude=("log.txt",), **options)  # type: ignore[arg-type]


def test_second_call_reuses_the_first(home: Path) -> None:
    first, second = run_stage(), run_stage()
    assert (first.reused, second.reused) == (False, True)
    assert first.digest == second.digest
    assert (second.folder / "part" / "result.txt").read_text() == "42"


def test_another_key_is_another_entry(home: Path) -> None:
    assert find_entry("stage", KEY) != find_entry("stage", KEY | {"setting": 2})
    assert find_entry("stage", KEY) == find_entry("stage", dict(reversed(KEY.items())))


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damaged_result_is_named_and_built_again(
    home: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = run_stage().folder / "part" / "result.txt"
    file.write_text("43") if damage == "changed" else file.unlink()
    again = run_stage()
    assert not again.reused
    assert file.read_text() == "42"
    assert "part/result.txt" in caplog.text


def test_excluded_files_may_change(home: Path) -> None:
    (run_stage().folder / "log.txt").write_text("more")
    assert run_stage().reused


def test_failed_build_leaves_nothing(home: Path) -> None:
    def fail(entry: Path) -> Handle:
        (entry / "half").write_text("written")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        reuse_or_build("stage", KEY, Handle, fail)
    assert not find_entry("stage", KEY).exists()


def test_partial_result_is_kept_where_it_can_be_resumed(home: Path) -> None:
    entry = find_entry("stage", KEY)
    entry.mkdir(parents=True)
    (entry / "checkpoint").write_text("step 3")
    seen = []

    def resume(folder: Path) -> Handle:
        seen.append((folder / "checkpoint").read_text())
        return Handle(path=folder.relative_to(find_home()).as_posix(), digest="0")

    reuse_or_build("stage", KEY, Handle, resume, keep_partial=True)
    assert seen == ["step 3"]


def test_manifest_of_a_newer_version_is_named(home: Path) -> None:
    manifest = run_stage().folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema_version": 99}))
    with pytest.raises(RunError, match="schema_version 99"):
        read_entry(manifest.parent, Handle)


def test_two_at_once_build_once(home: Path) -> None:
    builds = []

    def build_slowly(entry: Path) -> Handle:
        builds.append(entry)
        time.sleep(0.2)
        return build(entry)

    threads = [
        threading.Thread(target=lambda: reuse_or_build("stage", KEY, Handle, build_slowly))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1


def test_lock_dies_with_its_holder(home: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from tasks.records.locks import hold_lock
with hold_lock(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    time.sleep(60)
"""
    lock = find_entry("stage", KEY).with_suffix(".lock")
    holder = subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.kill()
    holder.communicate()
    assert not run_stage().reused
