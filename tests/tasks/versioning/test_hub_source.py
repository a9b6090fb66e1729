from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from configs.errors import RequestError, RunError
from configs.schema import DataConfig, ModelConfig
from tasks.formatting.files.readers import is_readable
from tasks.version import pin_inputs
from tasks.versioning.hub_source import HubPlace, HubSource, parse_hub_uri
from tasks.versioning.snapshot import Snapshot, take_snapshot
from tests.tasks.versioning.hub_server import NAME, Hub, serve

FIRST, SECOND = "a" * 40, "b" * 40


def encode_parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


TRAIN = encode_parquet([{"text": "a"}, {"text": "b"}])
FILES = {
    ".gitattributes": b"*.parquet filter=lfs",
    "README.md": b"# Questions",
    "dataset_infos.json": b"{}",
    "data/train-00000-of-00002.parquet": TRAIN,
    "data/train-00001-of-00002.parquet": encode_parquet([{"text": "c"}]),
    "data/test-00000-of-00001.parquet": encode_parquet([{"text": "t"}]),
    "extra/more.jsonl": b'{"text": "m"}\n',
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    commits = {FIRST: FILES, SECOND: FILES | {"extra/new.jsonl": b'{"text": "n"}\n'}}
    with serve(Hub(commits, {"main": SECOND, "v1.0": FIRST, "refs/pr/1": SECOND})) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def take(uri: str, blobs: Path, **options: Any) -> Snapshot:
    settings: dict[str, Any] = {"pattern": None, "eval_sources": {}} | options
    return take_snapshot(uri, locate=Path, is_readable=is_readable, blobs=blobs, **settings)


@pytest.mark.parametrize("revision", ["v1.0", FIRST, "main", "refs/pr/1", "refs%2Fpr%2F1"])
def test_a_revision_is_resolved_to_its_commit(hub: Hub, tmp_path: Path, revision: str) -> None:
    snapshot = take(f"hf://{NAME}@{revision}", tmp_path / "blobs")
    assert snapshot.commit == (FIRST if revision in {"v1.0", FIRST} else SECOND)
    assert sorted(snapshot.tree) == [
        "eval/test/test-00000-of-00001.parquet",
        "train/data/train-00000-of-00002.parquet",
        "train/data/train-00001-of-00002.parquet",
    ]
    blob = tmp_path / "blobs" / snapshot.tree["train/data/train-00000-of-00002.parquet"]
    assert blob.read_bytes() == TRAIN
    assert set(snapshot.passed_over) >= {"README.md", "dataset_infos.json", "extra/more.jsonl"}
    fetched = {name for name in hub.requests if name.startswith("GET /datasets/")}
    assert len(fetched) == 3  # what is not read is not downloaded


def test_a_path_is_a_folder_or_a_file(hub: Hub, tmp_path: Path) -> None:
    snapshot = take(f"hf://datasets/{NAME}@{SECOND}/extra", tmp_path / "blobs")
    assert sorted(snapshot.tree) == ["train/more.jsonl", "train/new.jsonl"]
    one = take(
        f"hf://{NAME}@v1.0/extra/more.jsonl",
        tmp_path / "blobs",
        eval_sources={"golden": f"hf://{NAME}@v1.0/data/test-00000-of-00001.parquet"},
    )
    assert sorted(one.tree) == ["eval/golden/test-00000-of-00001.parquet", "train/more.jsonl"]


def test_a_pattern_chooses_among_what_no_split_claims(hub: Hub, tmp_path: Path) -> None:
    snapshot = take(f"hf://{NAME}@v1.0", tmp_path / "blobs", pattern="extra/*")
    assert sorted(snapshot.tree) == [
        "eval/test/test-00000-of-00001.parquet",
        "train/extra/more.jsonl",
    ]


def test_a_file_is_downloaded_once(hub: Hub, tmp_path: Path) -> None:
    take(f"hf://{NAME}@v1.0", tmp_path / "blobs")
    hub.requests.clear()
    take(f"hf://{NAME}@{FIRST}", tmp_path / "other")
    assert not [name for name in hub.requests if name.startswith("GET /datasets/")]


def test_a_run_pins_it(hub: Hub, home: Path) -> None:
    data = DataConfig(source=f"hf://{NAME}@v1.0")
    assert pin_inputs(data, ModelConfig()).commit == FIRST
    assert pin_inputs(data, ModelConfig()).reused


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (f"hf://{NAME}", "the revision is missing"),
        ("hf://", "not a data set on the hub"),
        ("hf://a/b/c/d", "not a data set on the hub"),
        (f"hf://{NAME}@gone", "the hub has no revision 'gone'"),
        ("hf://someone/gone@main", "not a data set that the hub shows to you"),
        (f"hf://{NAME}@main/nowhere", 'holds no file under "nowhere"'),
        (f"hf://{NAME}@main/README.md", "README.md is not a kind of file that hone reads"),
    ],
)
def test_wrong_requests_are_refused(hub: Hub, tmp_path: Path, uri: str, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        take(uri, tmp_path / "blobs")
    assert words in str(caught.value)
    assert caught.value.where == f"data.source={uri}"


def test_a_gated_data_set_names_its_page(hub: Hub, tmp_path: Path) -> None:
    hub.is_gated = True
    with pytest.raises(RequestError, match="/datasets/someone/questions, then set"):
        take(f"hf://{NAME}@v1.0", tmp_path / "blobs")


@pytest.mark.parametrize("name", ["data/test-00000-of-00001.parquet", "extra/more.jsonl"])
def test_damaged_bytes_are_no_data(hub: Hub, tmp_path: Path, name: str) -> None:
    hub.damaged.add(name)
    with pytest.raises(RunError, match="its bytes are not those of the commit"):
        take(f"hf://{NAME}@v1.0/{name}", tmp_path / "blobs")


def test_a_hub_that_is_away_can_be_asked_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RunError, match="the hub does not answer"):
        HubSource(f"hf://{NAME}@v1.0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RunError, match=r"the hub does not answer \(OfflineModeIsEnabled\)"):
        HubSource(f"hf://{NAME}@v1.0")


def test_branches_that_the_hub_makes_have_slashes() -> None:
    uri = "hf://datasets/squad@refs/convert/parquet/plain_text/train/0000.parquet"
    path = "plain_text/train/0000.parquet"
    assert parse_hub_uri(uri) == HubPlace("squad", "refs/convert/parquet", path)
