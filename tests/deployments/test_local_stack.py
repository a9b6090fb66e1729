"""`make up` and `make down`, for real: servers answer, exactly they are stopped."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from configs.errors import RequestError, RunError
from deployments import local_stack
from deployments.processes import (
    StartedProcess,
    find_process,
    start_process,
    stop_process,
)
from deployments.services import Ports, Service, answers, list_services, wait_until_ready
from tests.cluster import find_free_port
from tests.flows.running import ROOT, SECONDS, make_environment


def start_sleeper(log: Path) -> StartedProcess:
    code = "import subprocess as s, sys, time; s.Popen(['sleep', '100']); time.sleep(100)"
    return start_process("sleeper", (sys.executable, "-c", code), dict(os.environ), log)


def test_only_the_process_that_was_started_is_stopped(tmp_path: Path) -> None:
    started = start_sleeper(tmp_path / "log")
    another = started.model_copy(update={"created": started.created - 100})
    assert find_process(another) is None
    assert not stop_process(another)  # the number was given to somebody else
    process = find_process(started)
    assert process is not None
    assert stop_process(started)
    assert find_process(started) is None
    assert not stop_process(started)


def test_down_stops_what_was_recorded_and_spares_the_rest(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local_stack.bring_down()
    assert "nothing was started" in capsys.readouterr().out
    mine, stranger = start_sleeper(home / "a.log"), start_sleeper(home / "b.log")
    reused = stranger.model_copy(update={"name": "mlflow", "created": stranger.created - 100})
    local_stack.find_folder().mkdir()
    local_stack.write_record(
        {"prefect": mine.model_copy(update={"name": "prefect"}), "mlflow": reused}
    )
    local_stack.bring_down()
    assert capsys.readouterr().out.splitlines() == ["mlflow: was not running", "prefect: stopped"]
    assert find_process(mine) is None
    assert find_process(stranger) is not None
    assert not (local_stack.find_folder() / local_stack.RECORD).exists()
    stop_process(stranger)


def test_a_taken_port_is_named_with_its_variable(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RequestError, match=f"make up PREFECT_PORT={port + 1}"):
            list_services(home, Ports(prefect=port), {})


def test_a_service_that_ends_shows_its_log(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "print('no such option'); raise SystemExit(2)")
    service = Service(
        "prefect", command, dict(os.environ), tmp_path / "log", health="http://127.0.0.1:9/"
    )
    with pytest.raises(RunError, match="prefect has ended:\nno such option"):
        wait_until_ready(service, service.start())


@pytest.mark.long
@pytest.mark.slow
def test_up_starts_everything_once_and_down_ends_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    ports = [str(find_free_port()) for _ in range(3)]
    options = [
        word
        for name, port in zip(("prefect", "mlflow", "lakefs"), ports, strict=True)
        for word in (f"--{name}-port", port)
    ]

    def call(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "deployments.local_stack", *words], cwd=ROOT, check=False,
            env=make_environment(home), capture_output=True, text=True, timeout=2 * SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        first = call("up", *options)
        record = json.loads((home / ".services" / "started.json").read_text())
        assert {row["name"] for row in record} >= {"prefect", "mlflow", "workers"}
        for port in ports[:2]:
            assert f"http://127.0.0.1:{port}" in first
        variables = home / ".services" / "environment"
        assert stat.S_IMODE(variables.stat().st_mode) == 0o600
        assert f"export PREFECT_API_URL=http://127.0.0.1:{ports[0]}/api" in variables.read_text()
        check = ["-m", "deployments.workers", "--check"]
        asked = subprocess.run(
            [sys.executable, *check], cwd=ROOT, check=False, capture_output=True, text=True,
            env=make_environment(home, PREFECT_API_URL=f"http://127.0.0.1:{ports[0]}/api"),
        )  # fmt: skip
        assert asked.returncode == 0, asked.stderr
        again = call("up", *options)
        assert "starting" not in again
        assert json.loads((home / ".services" / "started.json").read_text()) == record
    finally:
        last = call("down")
    assert last.count("stopped") == len(record)
    for row in record:
        assert find_process(StartedProcess.model_validate(row)) is None
    assert not any(answers(f"http://127.0.0.1:{port}/") for port in ports)
