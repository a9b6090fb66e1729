"""Downloads when things go wrong: always on the stand-in, which fails on demand."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import traceback
from pathlib import Path

import pytest
from lakefs.repository import Repository

from configs.errors import RequestError, RunError
from tasks.versioning import lakefs_client
from tasks.versioning.lakefs_client import Retries
from tests.lakefs_server.faults import Fault
from tests.lakefs_server.fixture import describe_stand_in
from tests.lakefs_server.server import StandIn
from tests.tasks.versioning.lakefs_rows import ROWS, commit_files, read_tree, take

OBJECT = r"refs/[^/]+/objects\?path="


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lakefs_client, "RETRIES", Retries(3, 0.01, 0.05))


@pytest.fixture
def faulty(stand_in: StandIn) -> Repository:
    repository = describe_stand_in(stand_in).create_repository()
    commit_files(repository, dict(ROWS))
    stand_in.faults.requests.clear()
    return repository


def test_a_new_commit_downloads_only_what_changed(
    faulty: Repository, stand_in: StandIn, tmp_path: Path
) -> None:
    uri, blobs = f"lakefs://{faulty.id}/main/rows", tmp_path / "blobs"
    take(uri, blobs)
    assert stand_in.faults.count(f"^GET .*{OBJECT}") == 3
    commit_files(
        faulty, {"rows/more/b.jsonl": b"new\n", "rows/more/copy.jsonl": b'{"text": "a"}\n'}
    )
    stand_in.faults.requests.clear()
    snapshot = take(uri, blobs)
    [request] = stand_in.faults.find(f"^GET .*{OBJECT}")  # the copy has the bytes of another object
    assert "rows/more/b.jsonl" in request
    assert read_tree(snapshot, blobs)["train/more/copy.jsonl"] == b'{"text": "a"}\n'


def test_a_damaged_blob_is_downloaded_again(
    faulty: Repository, stand_in: StandIn, tmp_path: Path
) -> None:
    uri, blobs = f"lakefs://{faulty.id}/main/rows/train.jsonl", tmp_path / "blobs"
    [digest] = take(uri, blobs).tree.values()
    (blobs / digest).chmod(0o644)
    (blobs / digest).write_bytes(b"tampered")
    take(uri, blobs)
    assert (blobs / digest).read_bytes() == ROWS["rows/train.jsonl"]


def test_a_cut_connection_is_resumed_where_it_broke(
    stand_in: StandIn, faulty: Repository, tmp_path: Path
) -> None:
    content = os.urandom(3_000_000)
    commit_files(faulty, {"big/train.txt": content})
    stand_in.faults.add(Fault(path=OBJECT, cut_after_bytes=1_100_000), times=2)
    snapshot = take(f"lakefs://{faulty.id}/main/big", tmp_path / "blobs")
    assert read_tree(snapshot, tmp_path / "blobs")["train/train.txt"] == content
    requests = stand_in.faults.find(f"^GET .*{OBJECT}big")
    starts = [int(r.rpartition("bytes=")[2].rstrip("-")) if "bytes=" in r else 0 for r in requests]
    assert len(starts) == 3
    assert starts == sorted(starts)
    assert starts[2] > 1_500_000


def test_a_run_that_failed_goes_on_in_the_next_one(
    stand_in: StandIn, faulty: Repository, tmp_path: Path
) -> None:
    content, blobs = os.urandom(2_000_000), tmp_path / "blobs"
    commit_files(faulty, {"big/train.txt": content, "big/small.txt": b"small"})
    stand_in.faults.add(Fault(path=f"{OBJECT}big/train", cut_after_bytes=1_000_000))
    stand_in.faults.add(Fault(path=f"{OBJECT}big/train", status=503), times=3)
    with pytest.raises(RunError, match=r"reading lakefs://.*/big/train\.txt.*503.*is kept"):
        take(f"lakefs://{faulty.id}/main/big", blobs)
    whole = {hashlib.sha256(b"small").hexdigest(), hashlib.sha256(content).hexdigest()}
    assert {p.name for p in blobs.iterdir()} < whole  # no half-read file in the store
    stand_in.faults.requests.clear()
    snapshot = take(f"lakefs://{faulty.id}/main/big", blobs)
    assert read_tree(snapshot, blobs)["train/train.txt"] == content
    [request] = stand_in.faults.find(f"^GET .*{OBJECT}big/train")
    assert int(request.rpartition("bytes=")[2].rstrip("-")) > 500_000


def test_a_server_that_ignores_ranges_sends_everything_again(
    stand_in: StandIn, faulty: Repository, tmp_path: Path
) -> None:
    content = os.urandom(1_500_000)
    commit_files(faulty, {"big/train.txt": content})
    stand_in.faults.add(Fault(path=OBJECT, cut_after_bytes=700_000))
    stand_in.faults.add(Fault(path=OBJECT, ignore_range=True))
    snapshot = take(f"lakefs://{faulty.id}/main/big", tmp_path / "blobs")
    assert read_tree(snapshot, tmp_path / "blobs")["train/train.txt"] == content


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("path", [r"/commits/", r"objects/ls", OBJECT, r"/config"])
def test_throttling_and_failures_that_pass_are_retried(
    stand_in: StandIn, faulty: Repository, tmp_path: Path, status: int, path: str
) -> None:
    stand_in.faults.add(Fault(path=path, status=status, retry_after_seconds=0), times=2)
    assert len(take(f"lakefs://{faulty.id}/main/rows", tmp_path / "blobs").tree) == 3
    assert not stand_in.faults.waiting


@pytest.mark.parametrize(
    ("path", "status", "kind", "words"),
    [
        (r"/commits/", 503, RunError, "finding the commit of .* failed"),
        (r"objects/ls", 429, RunError, "listing .* is throttling"),
        (OBJECT, 500, RunError, "reading .*rows/.* failed"),
        (OBJECT, 410, RequestError, "reading .*rows/.*deleted by the repository's retention"),
        (OBJECT, 403, RequestError, "no right to do that"),
        (r"/commits/", 401, RequestError, "refuses the keys"),
    ],
)
def test_what_does_not_pass_is_one_clear_error(
    stand_in: StandIn, faulty: Repository, tmp_path: Path,
    path: str, status: int, kind: type[Exception], words: str,
) -> None:  # fmt: skip
    stand_in.faults.add(Fault(path=path, status=status), times=50)
    with pytest.raises(kind, match=words) as caught:
        take(f"lakefs://{faulty.id}/main/rows", tmp_path / "blobs")
    assert os.environ["LAKEFS_SECRET_KEY"] not in str(caught.value)
    assert f"({status})" in str(caught.value)


def test_a_changed_byte_is_read_again_and_never_kept(
    stand_in: StandIn, faulty: Repository, tmp_path: Path
) -> None:
    uri, blobs = f"lakefs://{faulty.id}/main/rows/train.jsonl", tmp_path / "blobs"
    stand_in.faults.add(Fault(path=OBJECT, flip_byte=True))
    assert read_tree(take(uri, blobs), blobs)["train/train.jsonl"] == ROWS["rows/train.jsonl"]
    other = tmp_path / "other" / "blobs"
    stand_in.faults.add(Fault(path=OBJECT, flip_byte=True), times=2)
    with pytest.raises(RunError, match="its commit records 14 bytes"):
        take(uri, other)
    assert list(other.iterdir()) == []


def test_a_store_whose_tags_are_no_md5_is_read_twice(
    stand_in: StandIn, faulty: Repository, tmp_path: Path
) -> None:
    stand_in.state.blockstore_type = "s3"
    stand_in.faults.add(Fault(path=OBJECT, flip_byte=True), times=2)  # the same other content twice
    blobs = tmp_path / "blobs"
    snapshot = take(f"lakefs://{faulty.id}/main/rows/train.jsonl", blobs)
    assert read_tree(snapshot, blobs)["train/train.jsonl"] != ROWS["rows/train.jsonl"]


def test_signed_urls_are_used_where_the_server_offers_them(
    stand_in: StandIn, faulty: Repository, tmp_path: Path
) -> None:
    stand_in.state.objects.base_url = stand_in.endpoint
    content = os.urandom(1_200_000)
    commit_files(faulty, {"big/train.txt": content})
    stand_in.faults.requests.clear()
    stand_in.faults.add(Fault(path="^/store/", cut_after_bytes=600_000))
    stand_in.faults.add(Fault(path="^/store/", status=403))  # the signature ran out
    snapshot = take(f"lakefs://{faulty.id}/main/big", tmp_path / "blobs")
    assert read_tree(snapshot, tmp_path / "blobs")["train/train.txt"] == content
    assert stand_in.faults.count("^GET /store/") == 3
    assert stand_in.faults.count(f"^GET .*{OBJECT}") == 0
    stand_in.faults.add(Fault(path="^/store/", status=404))
    with pytest.raises(RequestError, match="retention"):
        take(f"lakefs://{faulty.id}/main/big", tmp_path / "other" / "blobs")


def test_two_runs_download_an_object_once(
    stand_in: StandIn, faulty: Repository, tmp_path: Path
) -> None:
    uri, blobs = f"lakefs://{faulty.id}/main/rows", tmp_path / "blobs"
    threads = [threading.Thread(target=take, args=(uri, blobs)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stand_in.faults.count(f"^GET .*{OBJECT}") == 3


def test_the_digest_of_what_hone_pushed_is_checked(
    stand_in: StandIn, faulty: Repository, tmp_path: Path
) -> None:
    content, main = b"pushed\n", faulty.branch("main")
    digest = {"hone-sha256": hashlib.sha256(content).hexdigest()}
    main.object("pushed/a.txt").upload(content, metadata=digest)
    main.object("wrong/a.txt").upload(b"other\n", metadata=digest)  # metadata of another object
    main.commit("push")
    for path, expected in (("pushed", content), ("wrong", b"other\n")):
        blobs = tmp_path / path / "blobs"
        snapshot = take(f"lakefs://{faulty.id}/main/{path}", blobs)
        assert read_tree(snapshot, blobs) == {"train/a.txt": expected}
    assert stand_in.faults.count(f"^GET .*{OBJECT}pushed") == 1
    stand_in.faults.add(Fault(path=OBJECT, flip_byte=True), times=2)
    with pytest.raises(RunError, match="its commit records"):
        take(f"lakefs://{faulty.id}/main/pushed", tmp_path / "third" / "blobs")


def test_bytes_that_are_not_what_hone_pushed_are_refused_whatever_the_tags_are(
    stand_in: StandIn, faulty: Repository, tmp_path: Path
) -> None:
    content, main = b"pushed\n", faulty.branch("main")
    digest = {"hone-sha256": hashlib.sha256(content).hexdigest()}
    main.object("pushed/a.txt").upload(content, metadata=digest)
    main.commit("push")
    stand_in.state.blockstore_type = "s3"  # tags that may be no MD5
    stand_in.faults.add(Fault(path=OBJECT, flip_byte=True), times=2)
    with pytest.raises(RunError, match=f"SHA-256 {digest['hone-sha256']}, not"):
        take(f"lakefs://{faulty.id}/main/pushed", tmp_path / "blobs")


def test_a_signed_url_is_in_no_log_of_a_failure(
    stand_in: StandIn, faulty: Repository, tmp_path: Path
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        stand_in.state.objects.base_url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(RunError, match="does not answer") as caught:
            take(f"lakefs://{faulty.id}/main/rows", tmp_path / "blobs")
    assert "signature" not in "".join(traceback.format_exception(caught.value))
