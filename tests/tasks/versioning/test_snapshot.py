from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from configs.errors import RequestError
from configs.schema import DataConfig, ModelConfig
from tasks.formatting.files.readers import is_readable
from tasks.version import pin_inputs
from tasks.versioning import base_models
from tasks.versioning.base_models import pin_base
from tasks.versioning.snapshot import Snapshot, take_snapshot

ROOT = Path(__file__).resolve().parents[3]
TINY = ROOT / "data" / "tiny-base"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "eval").mkdir(parents=True)
    (folder / "more").mkdir()
    (folder / "train.jsonl").write_text('{"text": "a"}\n')
    (folder / "more" / "b.jsonl").write_text('{"text": "b"}\n')
    (folder / "README.md").write_text("about")
    (folder / ".hidden.jsonl").write_text("{}")
    (folder / "eval" / "test.jsonl").write_text('{"text": "t"}\n')
    (folder / "eval" / "unknown.jsonl").write_text('{"text": "u"}\n')
    return folder


def take(source: Path, blobs: Path, **options: Any) -> Snapshot:
    settings: dict[str, Any] = {"pattern": None, "eval_sources": {}} | options
    return take_snapshot(str(source), locate=Path, is_readable=is_readable, blobs=blobs, **settings)


def test_folder_is_sorted_into_training_and_evaluation(source: Path, tmp_path: Path) -> None:
    snapshot = take(source, tmp_path / "blobs")
    assert sorted(snapshot.tree) == [
        "eval/test/test.jsonl", "train/more/b.jsonl", "train/train.jsonl",
    ]  # fmt: skip
    assert snapshot.passed_over == ("README.md", "eval/unknown.jsonl")
    assert len(snapshot.commit) == 40


def test_pattern_and_more_evaluation_sets(source: Path, tmp_path: Path) -> None:
    golden = tmp_path / "golden.csv"
    golden.write_text("prompt,completion\na,b\n")
    snapshot = take(
        source, tmp_path / "blobs", pattern="train.*", eval_sources={"golden": str(golden)}
    )
    assert sorted(snapshot.tree) == [
        "eval/golden/golden.csv", "eval/test/test.jsonl", "train/train.jsonl",
    ]  # fmt: skip


def test_commit_is_the_content_not_the_place(source: Path, tmp_path: Path) -> None:
    first = take(source, tmp_path / "blobs").commit
    moved = tmp_path / "elsewhere"
    shutil.copytree(source, moved)
    assert take(moved, tmp_path / "blobs").commit == first
    (moved / "train.jsonl").write_text('{"text": "changed"}\n')
    assert take(moved, tmp_path / "blobs").commit != first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (shutil.rmtree, "no file or folder"),
        (lambda s: (s / "train.jsonl").write_text(""), "train.jsonl is empty"),
        (lambda s: (s / "eval" / "test.csv").write_text("a,b\n"), "two files for the set test"),
        (lambda s: [p.unlink() for p in s.rglob("*.jsonl")], "no training file"),
    ],
)
def test_wrong_sources_are_refused(source: Path, tmp_path: Path, change: Any, words: str) -> None:
    change(source)
    with pytest.raises(RequestError, match=words):
        take(source, tmp_path / "blobs")


def test_an_empty_evaluation_set_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "golden.csv").touch()
    with pytest.raises(RequestError, match=r"eval_sources\.golden=.*golden\.csv is empty"):
        take(source, tmp_path / "blobs", eval_sources={"golden": str(tmp_path / "golden.csv")})


@pytest.mark.parametrize("name", ["../../outside", "a/b", "", ".hidden", "golden\n", "train"])
def test_names_of_evaluation_sets_that_are_no_folder_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="names a set"):
        DataConfig(eval_sources={name: "golden.csv"})


def test_scheme_that_is_not_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="scheme"):
        take_snapshot(
            "s3://bucket/x", locate=Path, pattern=None, eval_sources={},
            is_readable=is_readable, blobs=tmp_path,
        )  # fmt: skip


def test_later_edit_of_the_source_changes_nothing(source: Path, home: Path) -> None:
    config = DataConfig(source=str(source))
    first = pin_inputs(config, ModelConfig())
    (source / "train.jsonl").write_text('{"text": "edited"}\n')
    assert (first.folder / "train" / "train.jsonl").read_text() == '{"text": "a"}\n'
    second = pin_inputs(config, ModelConfig())
    assert second.commit != first.commit
    (source / "train.jsonl").write_text('{"text": "a"}\n')
    assert pin_inputs(config, ModelConfig()).reused


def test_damaged_store_is_mended_from_the_source(source: Path, home: Path) -> None:
    config = DataConfig(source=str(source))
    file = pin_inputs(config, ModelConfig()).folder / "train" / "train.jsonl"
    file.chmod(0o644)
    file.write_text('{"text": "tampered"}\n')  # the blob is the same file
    again = pin_inputs(config, ModelConfig())
    assert not again.reused
    assert file.read_text() == '{"text": "a"}\n'


def test_base_is_pinned_to_its_content(tmp_path: Path) -> None:
    pinned = pin_base("data/tiny-base", None)
    assert pinned.location == "data/tiny-base"
    copy = tmp_path / "copy"
    shutil.copytree(TINY, copy)
    moved = pin_base(str(copy), None)
    assert (moved.revision, moved.location) == (pinned.revision, str(copy))
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    assert pin_base(str(copy), None).revision != pinned.revision


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_base_without_a_part_is_refused(tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(TINY, copy)
    (copy / name).unlink()
    with pytest.raises(RequestError, match="holds no model"):
        pin_base(str(copy), None)


def test_missing_base_folder_is_not_taken_for_a_hub_id() -> None:
    with pytest.raises(RequestError, match="no folder"):
        pin_base("./missing", None)


def test_store_works_where_links_fail(
    source: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("links are not supported here")

    monkeypatch.setattr(os, "link", refuse)
    assert (pin_inputs(DataConfig(source=str(source)), ModelConfig()).folder / "train").is_dir()


def test_a_hub_model_is_pinned_by_its_commit_without_reading_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "models--someone--tiny"
    shutil.copytree(TINY, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.delattr(base_models, "digest_files")
    pinned = pin_base("someone/tiny", None)
    assert (pinned.name, pinned.revision) == ("someone/tiny", commit)
    assert Path(pinned.location) == cached / "snapshots" / commit
    (cached / "snapshots" / commit / "model.safetensors").unlink()
    with pytest.raises(RequestError, match="holds no model"):
        pin_base("someone/tiny", None)
