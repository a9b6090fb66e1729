from __future__ import annotations

import os
import shutil
import socket
import stat
import sys
from pathlib import Path

import pytest
from lakefs.repository import Repository

from configs.errors import RequestError, RunError
from deployments import lakefs as command
from deployments.lakefs_server import (
    Keys,
    bring_server,
    find_server,
    make_environment,
    reserve_port,
    serve_lakefs,
)  # fmt: skip
from tests.lakefs_server.fixture import describe_stand_in
from tests.lakefs_server.server import StandIn

KEYS = Keys("AKIAJTESTSONLYSERVER", "tests-only", "tests-only")


def test_keys_are_made_once_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / ".lakefs" / "keys.json"
    keys = command.load_keys(path)
    assert command.load_keys(path) == keys
    assert len({keys.access_key, keys.secret_key, keys.encryption_key}) == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert command.load_keys(tmp_path / "other" / "keys.json") != keys


def test_the_example_is_committed_once(stand_in: StandIn) -> None:
    server = describe_stand_in(stand_in)
    keys = Keys(server.access_key, server.secret_key, "")
    first = command.put_example(server.endpoint, keys)
    assert command.put_example(server.endpoint, keys) == first
    main = Repository(command.REPOSITORY, server.open_client()).branch(command.BRANCH)
    paths = [stored.path for stored in main.objects()]
    assert paths == [
        "flowroll/README.md", "flowroll/eval/adversarial.jsonl", "flowroll/eval/dev.jsonl",
        "flowroll/eval/test.jsonl", "flowroll/train.jsonl",
    ]  # fmt: skip
    content = (command.EXAMPLE / "train.jsonl").read_bytes()
    assert main.object("flowroll/train.jsonl").reader().read() == content
    main.object("flowroll/train.jsonl").upload(b"mine")
    mine = main.commit("my rows").id
    assert command.put_example(server.endpoint, keys) == mine
    assert main.object("flowroll/train.jsonl").reader().read() == b"mine"


def test_a_server_with_other_keys_is_one_clear_error(stand_in: StandIn) -> None:
    with pytest.raises(RunError, match="does not take the example data"):
        command.put_example(stand_in.endpoint, KEYS)


def test_a_taken_port_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RequestError, match=f"port {port} of 127.0.0.1 is taken"):
            reserve_port(port)
    assert reserve_port(0) > 0


def test_without_a_program_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if shutil.which("lakefs", path=str(Path(sys.executable).parent)):
        pytest.skip("the installer has brought the program here already")
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing answers there
    with pytest.raises(RequestError, match="could not bring it") as caught:
        bring_server()
    assert str(caught.value).startswith("no `lakefs` on the PATH")
    assert "\n" not in str(caught.value)


def test_a_program_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    program = tmp_path / "lakefs"
    program.write_text("#!/bin/sh\necho the store is broken\nexit 1\n")
    program.chmod(0o755)
    with (
        pytest.raises(RunError, match="did not start: the store is broken"),
        serve_lakefs(str(program), tmp_path / "server", KEYS),
    ):
        pytest.fail("it did start")


def test_hooks_may_ask_others_and_find_the_keys_of_this_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING", "HONE_GUARD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    bare = make_environment(tmp_path, KEYS, 8000)
    assert bare["LAKEFS_ACTIONS_LUA_NET_HTTP_ENABLED"] == "true"
    assert bare["LAKEFS_LISTEN_ADDRESS"] == "127.0.0.1:8000"
    assert not [name for name in bare if name.startswith("LAKEFSACTION_")]
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "admin:word")
    monkeypatch.setenv("HONE_GUARD_TOKEN", "token")
    keyed = make_environment(tmp_path, KEYS, 8000)
    assert keyed["LAKEFSACTION_PREFECT_AUTHORIZATION"] == "Basic YWRtaW46d29yZA=="
    assert keyed["LAKEFSACTION_HONE_GUARD_TOKEN"] == "token"
    monkeypatch.setenv("LAKEFSACTION_PREFECT_AUTHORIZATION", "Bearer mine")
    assert make_environment(tmp_path, KEYS, 8000)["LAKEFSACTION_PREFECT_AUTHORIZATION"] == (
        "Bearer mine"
    )


def test_a_second_start_finds_everything_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (program := find_server()):
        pytest.skip("needs the real server: no lakefs on the PATH")
    monkeypatch.setenv("LAKEFS_ENDPOINT", "http://elsewhere.invalid")  # not for this server
    with serve_lakefs(program, tmp_path / "server", KEYS) as endpoint:
        first = command.put_example(endpoint, KEYS)
    assert os.environ["LAKEFS_ENDPOINT"] == "http://elsewhere.invalid"
    with serve_lakefs(program, tmp_path / "server", KEYS) as endpoint:
        assert command.put_example(endpoint, KEYS) == first
