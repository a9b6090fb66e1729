"""Uploads in parts: on the stand-in, as no local store offers them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lakefs.repository import Repository

from configs.errors import RequestError, RunError
from tasks.records.digests import digest_file
from tasks.versioning import lakefs_client, multipart, uploads
from tasks.versioning.commits import find_repository, list_objects
from tasks.versioning.ingest import ingest_folder, plan_ingest
from tasks.versioning.lakefs_client import Retries, open_client
from tasks.versioning.multipart import MAX_PARTS, choose_part_bytes
from tasks.versioning.side_branches import SideBranch
from tasks.versioning.snapshot import Snapshot
from tasks.versioning.uploads import DIGEST_KEY, LocalFile
from tests.lakefs_server.faults import Fault
from tests.lakefs_server.fixture import describe_stand_in
from tests.lakefs_server.server import StandIn
from tests.tasks.versioning.lakefs_rows import read_tree, take

PART_BYTES = 5 << 20  # the smallest that S3 and the stand-in take
PART = r"^PUT /store/.*\.\d+\?"


@pytest.fixture
def parted(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A repository on a store that takes parts."""
    stand_in.state.objects.base_url = stand_in.endpoint
    stand_in.state.objects.takes_parts = True
    stand_in.state.blockstore_type = "s3"
    monkeypatch.setattr(lakefs_client, "RETRIES", Retries(3, 0.01, 0.05))
    monkeypatch.setattr(multipart, "PART_BYTES", PART_BYTES)
    monkeypatch.setattr(uploads, "MULTIPART_BYTES", 2 * PART_BYTES)
    return describe_stand_in(stand_in).create_repository()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four parts and a bit, and a small file."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "big.txt").write_bytes(os.urandom(4 * PART_BYTES + 7))
    (folder / "small.txt").write_bytes(b"small\n")
    return folder


def push(repository: Repository, folder: Path) -> list[tuple[int, int]]:
    client, told = open_client(), list[tuple[int, int]]()
    ingest = plan_ingest(
        client, folder, repository=repository.id, branch="main", path="rows", delete=False
    )
    ingest_folder(
        client, ingest, message="m", metadata={}, accept=lambda _: {},
        report=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    return told


def read_back(repository: Repository, tmp_path: Path) -> dict[str, bytes]:
    blobs = tmp_path / "blobs"
    snapshot: Snapshot = take(f"lakefs://{repository.id}/main/rows", blobs)
    return read_tree(snapshot, blobs)


def list_store(stand_in: StandIn) -> Iterator[str]:
    return (p.name for p in stand_in.state.objects.folder.iterdir())


def test_a_big_file_arrives_in_parts(
    parted: Repository, folder: Path, stand_in: StandIn, tmp_path: Path
) -> None:
    told = push(parted, folder)
    assert stand_in.faults.count(PART) == 5
    assert stand_in.faults.count("^POST .*/objects") == 0
    assert not stand_in.state.objects.uploads
    assert not [name for name in list_store(stand_in) if re.search(r"\.\d+$", name)]
    total = 4 * PART_BYTES + 13
    assert told == [(total - 6, total), (total, total)]
    found = list_objects(open_client(), parted.id, "main", "rows/big.txt")
    assert found[0].checksum.endswith("-5")
    assert DIGEST_KEY in found[0].metadata
    assert read_back(parted, tmp_path)["train/big.txt"] == (folder / "big.txt").read_bytes()
    assert plan_ingest(
        open_client(), folder, repository=parted.id, branch="main", path="rows", delete=False
    ).is_empty


@pytest.mark.parametrize(
    "fault",
    [
        Fault("PUT", r"\.3\?", cut_after_bytes=1_000_000),
        Fault("PUT", r"\.3\?", status=503),
        Fault("PUT", r"\.3\?", status=403),  # the signature ran out
    ],
    ids=["cut", "busy", "expired"],
)
def test_a_part_that_fails_is_sent_again_alone(
    parted: Repository, folder: Path, stand_in: StandIn, tmp_path: Path, fault: Fault
) -> None:
    stand_in.faults.add(fault)
    push(parted, folder)
    assert stand_in.faults.count(r"^PUT /store/.*\.3\?") == 2
    assert stand_in.faults.count(PART) == 6
    assert stand_in.faults.count("/parts/3") == 1  # signed anew
    assert read_back(parted, tmp_path)["train/big.txt"] == (folder / "big.txt").read_bytes()


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [(r"\.2\?", 503, RunError), (r"\.2\?", 400, RequestError), (r"pmpu/\w+\?", 500, RunError)],
)
def test_a_failure_aborts_the_upload(
    parted: Repository, folder: Path, stand_in: StandIn,
    path: str, status: int, kind: type[Exception],
) -> None:  # fmt: skip
    stand_in.faults.add(Fault("PUT", path, status=status), times=50)
    with pytest.raises(kind, match=f"sending rows/big.txt.*{status}") as failed:
        push(parted, folder)
    assert "signature" not in str(failed.value)
    assert stand_in.faults.count("^DELETE .*/pmpu/") == 1
    assert not stand_in.state.objects.uploads
    assert not [name for name in list_store(stand_in) if re.search(r"\.\d+$", name)]
    assert [b.id for b in parted.branches(show_hidden=True)] == ["main"]


def test_an_upload_that_cannot_be_aborted_is_named(
    parted: Repository, folder: Path, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in.faults.add(Fault("PUT", r"\.2\?", status=400))
    stand_in.faults.add(Fault("DELETE", "/pmpu/", status=500), times=3)
    with pytest.raises(RequestError, match="400"):
        push(parted, folder)
    assert "parts of rows/big.txt may stay in the store" in caplog.text


def test_a_file_that_is_changed_while_it_is_sent_aborts_the_upload(
    parted: Repository, folder: Path, stand_in: StandIn
) -> None:
    client = open_client()
    ingest = plan_ingest(
        client, folder, repository=parted.id, branch="main", path="rows", delete=False
    )
    with (folder / "big.txt").open("r+b") as file:
        file.seek(PART_BYTES)
        file.write(b"changed")
    with pytest.raises(RunError, match="changed while it was sent"):
        ingest_folder(client, ingest, message="m", metadata={}, accept=lambda _: {})
    assert not stand_in.state.objects.uploads


def test_a_completion_whose_answer_was_lost_is_found(
    parted: Repository, folder: Path, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lakefs_sdk.api.experimental_api import ExperimentalApi
    from urllib3.exceptions import ProtocolError

    complete, lost = (
        ExperimentalApi.complete_presign_multipart_upload,
        [ProtocolError("connection lost")],
    )

    def lose_answer(self: ExperimentalApi, *values: Any, **options: Any) -> object:
        answer = complete(self, *values, **options)
        if lost:
            raise lost.pop()
        return answer

    monkeypatch.setattr(ExperimentalApi, "complete_presign_multipart_upload", lose_answer)
    push(parted, folder)
    assert len(list_objects(open_client(), parted.id, "main")) == 2


def test_a_store_without_parts_gets_one_stream(
    lakefs_repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MULTIPART_BYTES", 1 << 20)
    place = tmp_path / "rows.bin"
    place.write_bytes(os.urandom(3 << 20))
    client = open_client()
    side = SideBranch(client, lakefs_repository.id, "main")
    [file] = [LocalFile(place, "rows.bin", 3 << 20, digest_file(place))]
    uploads.upload_files(side, [file], "test")
    branch = find_repository(client, lakefs_repository.id).branch("main")
    assert branch.object("rows.bin").reader("rb").read() == place.read_bytes()


def test_parts_are_never_more_than_are_numbered() -> None:
    for num_bytes in (1, 64 << 20, 10 << 30, 5 << 40):
        assert -(-num_bytes // choose_part_bytes(num_bytes)) <= MAX_PARTS
