"""Reading from lakeFS, on whichever server the tests run against."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lakefs.repository import Repository

from configs.errors import RequestError
from configs.schema import DataConfig, ModelConfig
from tasks.version import pin_inputs
from tasks.versioning.lakefs_source import LakeFSSource
from tasks.versioning.store import store_files
from tests.lakefs_server.fixture import LakeFSServer
from tests.tasks.versioning.lakefs_rows import ROWS, commit_files, read_tree, take


@pytest.fixture
def filled(lakefs_repository: Repository) -> Repository:
    commit_files(lakefs_repository, dict(ROWS))
    return lakefs_repository


def test_a_folder_of_a_commit_is_read_like_a_local_one(filled: Repository, tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    snapshot = take(f"lakefs://{filled.id}/main/rows", blobs)
    assert read_tree(snapshot, blobs) == {
        "eval/test/test.jsonl": ROWS["rows/eval/test.jsonl"],
        "train/more/b.jsonl": ROWS["rows/more/b.jsonl"],
        "train/train.jsonl": ROWS["rows/train.jsonl"],
    }
    assert snapshot.passed_over == ("README.md",)
    assert snapshot.commit == filled.branch("main").get_commit().id
    assert {hashlib.sha256(p.read_bytes()).hexdigest() for p in blobs.iterdir()} == {
        *snapshot.tree.values()
    }


@pytest.mark.parametrize("ref", ["branch", "tag", "commit", "short", "back"])
def test_every_kind_of_ref_is_pinned(filled: Repository, tmp_path: Path, ref: str) -> None:
    first = str(filled.branch("main").get_commit().id)
    filled.tag("v1").create(first)
    commit_files(filled, {"rows/train.jsonl": b'{"text": "later"}\n'})
    filled.branch("side").create(first)
    spelled = {"branch": "side", "tag": "v1", "commit": first, "short": first[:10]}
    uri = f"lakefs://{filled.id}/{spelled.get(ref, 'main~1')}/rows"
    snapshot = take(uri, tmp_path / "blobs")
    assert snapshot.commit == first
    assert read_tree(snapshot, tmp_path / "blobs")["train/train.jsonl"] == b'{"text": "a"}\n'


def test_only_the_pinned_commit_is_read_while_the_branch_moves(
    filled: Repository, tmp_path: Path
) -> None:
    source = LakeFSSource(f"lakefs://{filled.id}/main/rows")
    before = source.commit
    commit_files(filled, {"rows/train.jsonl": b"moved\n", "rows/more/b.jsonl": None})
    blobs = tmp_path / "blobs"
    digests = store_files(source, ["train.jsonl", "more/b.jsonl"], blobs)
    assert [(blobs / d).read_bytes() for d in digests.values()] == [
        ROWS["rows/train.jsonl"],
        ROWS["rows/more/b.jsonl"],
    ]
    assert source.commit == before != filled.branch("main").get_commit().id


def test_uploads_that_are_not_committed_are_not_read(filled: Repository, tmp_path: Path) -> None:
    filled.branch("main").object("rows/train.jsonl").upload(b"not committed")
    filled.branch("main").object("new/train.jsonl").upload(b"not committed")
    snapshot = take(f"lakefs://{filled.id}/main/rows", tmp_path / "blobs")
    assert read_tree(snapshot, tmp_path / "blobs")["train/train.jsonl"] == b'{"text": "a"}\n'
    with pytest.raises(RequestError, match=r"holds nothing under 'new'.*commit them first"):
        LakeFSSource(f"lakefs://{filled.id}/main/new")


def test_one_object_is_a_file_and_evaluation_sets_read_the_same_commit(
    filled: Repository, tmp_path: Path
) -> None:
    blobs = tmp_path / "blobs"
    snapshot = take(
        f"lakefs://{filled.id}/main/rows/train.jsonl", blobs,
        eval_sources={"golden": f"lakefs://{filled.id}/main/other/train.jsonl"},
    )  # fmt: skip
    assert read_tree(snapshot, blobs) == {
        "train/train.jsonl": ROWS["rows/train.jsonl"],
        "eval/golden/train.jsonl": ROWS["other/train.jsonl"],
    }
    pins: dict[tuple[str, str], str] = {}
    first = LakeFSSource(f"lakefs://{filled.id}/main/rows", pins=pins)
    commit_files(filled, {"rows/train.jsonl": b"moved\n"})
    second = LakeFSSource(f"lakefs://{filled.id}/main/other", "data.eval_sources.golden", pins)
    assert first.commit == second.commit


def test_an_evaluation_set_that_is_a_folder_is_refused(filled: Repository, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="is a folder"):
        take(
            f"lakefs://{filled.id}/main/rows", tmp_path / "blobs",
            eval_sources={"golden": f"lakefs://{filled.id}/main/other"},
        )  # fmt: skip


def test_long_listings_come_in_pages(lakefs_repository: Repository, tmp_path: Path) -> None:
    files = {f"many/{index:04d}.jsonl": b"%d\n" % (index % 7) for index in range(1050)}
    main = lakefs_repository.branch("main")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: main.object(path).upload(files[path], pre_sign=False), files))
    main.commit("many")
    source = LakeFSSource(f"lakefs://{lakefs_repository.id}/main/many")
    assert [f"many/{file.name}" for file in source.list_files()] == list(files)
    digests = store_files(source, [file.name for file in source.list_files()], tmp_path / "blobs")
    assert len(digests) == 1050
    assert len(set(digests.values())) == 7


def test_the_version_task_follows_the_tree_and_names_the_commit(
    filled: Repository, home: Path
) -> None:
    config = DataConfig(source=f"lakefs://{filled.id}/main/rows")
    first = pin_inputs(config, ModelConfig())
    assert first.commit == filled.branch("main").get_commit().id
    elsewhere = commit_files(filled, {"other/train.jsonl": b"changed\n"})
    second = pin_inputs(config, ModelConfig())
    assert second.reused  # nothing under PATH changed
    assert (second.digest, second.commit) == (first.digest, elsewhere)
    commit_files(filled, {"rows/train.jsonl": b'{"text": "changed"}\n'})
    assert pin_inputs(config, ModelConfig()).digest != first.digest


def test_an_object_deleted_from_the_store_is_named(
    filled: Repository, lakefs: LakeFSServer, tmp_path: Path
) -> None:
    if lakefs.store is None:
        pytest.skip("the server's store is not on this machine")
    content = ROWS["rows/more/b.jsonl"]
    for file in [p for p in lakefs.store.rglob("*") if p.is_file() and p.read_bytes() == content]:
        file.unlink()
    with pytest.raises(RequestError, match=r"reading .*more/b\.jsonl: .*retention.*410"):
        take(f"lakefs://{filled.id}/main/rows", tmp_path / "blobs")


@pytest.mark.parametrize("name", ["../outside.jsonl", "a//b.jsonl", "/a.jsonl", "./a.jsonl"])
def test_names_that_leave_the_folder_are_refused(
    lakefs_repository: Repository, tmp_path: Path, name: str
) -> None:
    commit_files(lakefs_repository, {f"rows/{name}": b"x\n"})
    with pytest.raises(RequestError, match="cannot be laid out"):
        take(f"lakefs://{lakefs_repository.id}/main/rows", tmp_path / "blobs")


def test_an_object_below_another_is_refused(lakefs_repository: Repository, tmp_path: Path) -> None:
    commit_files(lakefs_repository, {"rows/a.txt": b"x\n", "rows/a.txt/b.txt": b"x\n"})
    with pytest.raises(RequestError, match="cannot be laid out"):
        take(f"lakefs://{lakefs_repository.id}/main/rows", tmp_path / "blobs")


def test_folder_markers_and_empty_objects(lakefs_repository: Repository, tmp_path: Path) -> None:
    commit_files(lakefs_repository, {"rows/": b"", "rows/deep/": b"", "rows/a.txt": b"x\n"})
    snapshot = take(f"lakefs://{lakefs_repository.id}/main/rows", tmp_path / "blobs")
    assert list(snapshot.tree) == ["train/a.txt"]
    commit_files(lakefs_repository, {"rows/empty.txt": b""})
    with pytest.raises(RequestError, match=r"empty\.txt is empty"):
        take(f"lakefs://{lakefs_repository.id}/main/rows", tmp_path / "blobs")


def test_names_with_any_characters_are_read(lakefs_repository: Repository, tmp_path: Path) -> None:
    names = ["rows/ä ö.jsonl", "rows/a+b&c=d.jsonl", "rows/100%.jsonl", "rows/?#.jsonl"]
    commit_files(lakefs_repository, {name: name.encode() for name in names})
    blobs = tmp_path / "blobs"
    tree = read_tree(take(f"lakefs://{lakefs_repository.id}/main/rows", blobs), blobs)
    assert tree == {f"train/{name[5:]}": name.encode() for name in names}
