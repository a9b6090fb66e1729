"""The guard over real HTTP: what it accepts, and that nothing passes because something failed."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from configs.errors import RequestError
from deployments import merge_guard
from deployments.merge_guard import GuardServer, serve_guard
from tasks.push import push_folder
from tests.flows.running import make_row, write_rows

if TYPE_CHECKING:
    from lakefs.repository import Repository


@pytest.fixture
def preset(home: Path, lakefs_repository: Repository, tmp_path: Path) -> Path:
    """A preset that reads the rows that are on main."""
    write_rows(tmp_path / "data" / "train.jsonl", [make_row(f"Put {n} away.") for n in range(5)])
    push_folder(tmp_path / "data", repository=lakefs_repository.id, branch="main", path="rows")
    preset = tmp_path / "preset.yaml"
    source = f"lakefs://{lakefs_repository.id}/main/rows"
    preset.write_text(
        f"extends: tiny\ndata: {{source: '{source}', pattern: null, group_by: null}}\n"
    )
    return preset


@pytest.fixture
def server(preset: Path) -> Iterator[GuardServer]:
    with serve_guard(str(preset)) as server:
        yield server


def post(server: GuardServer, body: Any, path: str = "/merges", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | headers
    try:
        connection.request("POST", path, content, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def tell(repository: Repository, commit: str, **changes: str) -> dict[str, Any]:
    """Return what lakeFS's webhook says of a merge into main."""
    return {
        "event_type": "pre-merge", "event_time": "2026-01-01T00:00:00Z", "action_name": "guard",
        "hook_id": "hone_guard", "repository_id": repository.id, "branch_id": "main",
        "source_ref": commit, "commit_message": "more", "committer": "admin",
        "commit_metadata": {}, "merge_source": "side",
    } | changes  # fmt: skip


def commit_rows(repository: Repository, content: str, name: str = "more.jsonl") -> str:
    """Commit a file to a new branch; return the commit."""
    side = repository.branch("side").create("main")
    side.object(f"rows/{name}").upload(content.encode())
    return str(side.commit("more").id)


BROKEN = json.dumps(make_row("Put a secret away.")) + '\n{"messages": 1, "note": "geheim"}\n'


def test_valid_rows_are_accepted_with_their_counts(
    server: GuardServer, lakefs_repository: Repository
) -> None:
    commit = commit_rows(lakefs_repository, json.dumps(make_row("Put 99 away.")) + "\n")
    status, text = post(server, tell(lakefs_repository, commit))
    answer = json.loads(text)
    assert (status, answer["outcome"], answer["commit"]) == (200, "accepted", commit)
    assert (answer["rows"]["read"], answer["rows"]["kept"]) == (6, 6)


def test_broken_rows_are_refused_with_the_ledger(
    server: GuardServer, lakefs_repository: Repository
) -> None:
    commit = commit_rows(lakefs_repository, BROKEN)
    status, text = post(server, tell(lakefs_repository, commit))
    answer = json.loads(text)
    assert (status, answer["outcome"]) == (412, "refused")
    assert "1 of 7 rows are invalid" in answer["message"]
    assert answer["problems"][0].startswith("more.jsonl:2:")
    assert "geheim" not in text
    again, words = post(server, tell(lakefs_repository, commit), Accept="text/plain")
    assert again == 412
    assert words.startswith("hone: refused: 1 of 7 rows are invalid")
    assert "  - more.jsonl:2:" in words


def test_the_merges_own_commit_is_read_where_there_is_one(
    server: GuardServer, lakefs_repository: Repository
) -> None:
    commit_rows(lakefs_repository, BROKEN)
    valid = lakefs_repository.branch("other").create("main")
    valid.object("rows/other.jsonl").upload(json.dumps(make_row("Put 99 away.")).encode() + b"\n")
    commit = str(valid.commit("valid").id)
    body = tell(lakefs_repository, commit, commit_id=str(lakefs_repository.branch("side").head.id))
    assert post(server, body)[0] == 412
    assert post(server, tell(lakefs_repository, commit, commit_id="0" * 64))[0] == 200


def test_what_changes_nothing_below_the_path_passes_unread(
    server: GuardServer, lakefs_repository: Repository
) -> None:
    side = lakefs_repository.branch("side").create("main")
    side.object("elsewhere/train.jsonl").upload(b"no row\n")
    status, text = post(server, tell(lakefs_repository, str(side.commit("elsewhere").id)))
    assert status == 200
    assert "nothing changes below rows" in text


def test_a_merge_that_takes_all_rows_away_is_refused(
    server: GuardServer, lakefs_repository: Repository
) -> None:
    side = lakefs_repository.branch("side").create("main")
    side.object("rows/train.jsonl").delete()
    status, text = post(server, tell(lakefs_repository, str(side.commit("gone").id)))
    assert status == 412
    assert "holds nothing under 'rows'" in text


def test_while_it_reads_it_says_so_and_only_to_who_asks(
    server: GuardServer, lakefs_repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from tasks import guard

    commit, go_on = commit_rows(lakefs_repository, BROKEN), threading.Event()
    validate, num_reads = guard.validate_source, []

    def wait_and_validate(*values: Any) -> Any:
        num_reads.append(1)
        assert go_on.wait(30)
        return validate(*values)

    monkeypatch.setattr(guard, "validate_source", wait_and_validate)
    body = tell(lakefs_repository, commit)
    assert post(server, body, "/merges?wait=0.1")[0] == 202
    assert post(server, body, "/merges?wait=0.1")[0] == 202
    go_on.set()
    assert post(server, body, "/merges")[0] == 412
    assert num_reads == [1]


@pytest.mark.parametrize("failure", [TimeoutError("slow"), ZeroDivisionError("a bug")])
def test_nothing_passes_because_hone_failed(
    server: GuardServer, lakefs_repository: Repository, monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
) -> None:  # fmt: skip
    from tasks import guard

    def fail(*_: Any) -> Any:
        raise failure

    commit = commit_rows(lakefs_repository, BROKEN)
    with monkeypatch.context() as patch:
        patch.setattr(guard, "validate_source", fail)
        status, text = post(server, tell(lakefs_repository, commit))
    assert (status, json.loads(text)["outcome"]) == (503, "failed")
    assert type(failure).__name__ in text
    assert post(server, tell(lakefs_repository, commit))[0] == 412  # a failure is not remembered


def test_a_source_that_cannot_be_read_is_refused(
    server: GuardServer, lakefs_repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, text = post(server, tell(lakefs_repository, "0" * 64))
    assert (status, json.loads(text)["outcome"]) == (503, "failed")
    monkeypatch.setenv("LAKEFS_SECRET_KEY", "not-the-secret")
    status, text = post(server, tell(lakefs_repository, "main"))
    assert status == 503
    assert "not-the-secret" not in text


def test_other_repositories_branches_and_events_are_refused(
    server: GuardServer, lakefs_repository: Repository
) -> None:
    head = str(lakefs_repository.branch("main").head.id)
    for changes in ({"repository_id": "other"}, {"branch_id": "next"}):
        status, text = post(server, tell(lakefs_repository, head, **changes))
        assert status == 404
        assert "answers for main of" in text
    status, text = post(server, tell(lakefs_repository, head, event_type="pre-commit"))
    assert status == 400
    assert "event_type" in text


@pytest.mark.parametrize(
    ("body", "path", "headers", "status"),
    [
        (b"{", "/merges", {}, 400),
        (b"[]", "/merges", {}, 400),
        ({"event_type": "pre-merge"}, "/merges", {}, 400),
        (b"{}", "/elsewhere", {}, 404),
        (b"x" * 70_000, "/merges", {}, 413),
        (b"{}", "/merges", {"Content-Type": "text/plain"}, 415),
        (b"{}", "/merges", {"Content-Length": "-1"}, 411),
    ],
)
def test_what_is_no_merge_is_refused(
    server: GuardServer, body: Any, path: str, headers: dict[str, str], status: int
) -> None:
    assert post(server, body, path, **headers)[0] == status


def test_with_a_token_only_who_has_it_is_answered(
    preset: Path, lakefs_repository: Repository
) -> None:
    body = tell(lakefs_repository, str(lakefs_repository.branch("main").head.id))
    with serve_guard(str(preset), token="right") as server:
        assert post(server, body)[0] == 401
        assert post(server, body, Authorization="Bearer wrong")[0] == 401
        assert post(server, body, Authorization="Bearer right")[0] == 200


def test_others_can_reach_it_only_with_a_token(preset: Path) -> None:
    with pytest.raises(RequestError, match="could ask the guard"), serve_guard(
        str(preset), host="0.0.0.0"  # noqa: S104 it must be refused
    ):  # fmt: skip
        pytest.fail("it listens")


def test_a_preset_that_reads_no_branch_is_refused(home: Path) -> None:
    with pytest.raises(RequestError, match="is not a lakeFS URI"), serve_guard("tiny"):
        pytest.fail("it listens")
    assert merge_guard.main(["tiny", "--port", "0"]) == 3
