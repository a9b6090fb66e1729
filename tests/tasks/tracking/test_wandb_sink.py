"""W&B: a real run offline, and a server that is away or refuses the key."""

from __future__ import annotations

import gc
import json
import logging
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from configs.errors import RequestError
from tasks.records.writing import read_jsonl
from tasks.tracking.observer import LiveMetrics
from tasks.tracking.wandb_sink import WandbRun, WandbSink, check_login
from tests.tasks.tracking.wandb_files import read_history, read_records
from tests.tasks.tracking.wandb_server import WandbServer

wandb = pytest.importorskip("wandb")

KEY = "a" * 40


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a test a HONE_HOME of its own, no key, and wandb as if just imported."""
    monkeypatch.setenv("HONE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("NETRC", str(tmp_path / "user" / "netrc"))
    for name in ("API_KEY", "MODE", "BASE_URL", "CACHE_DIR", "DATA_DIR", "DIR", "RUN_ID"):
        monkeypatch.setenv(f"WANDB_{name}", "")
        monkeypatch.delenv(f"WANDB_{name}")
    wandb.teardown()
    yield tmp_path
    wandb.teardown()


def kill(pid: int) -> None:
    """Kill wandb's process, and wait for it in wandb's place, which never does.

    Else its object says that it still runs, in whichever test it is freed.
    """
    [process] = [
        found
        for found in gc.get_objects()
        if isinstance(found, subprocess.Popen) and found.pid == pid
    ]
    process.kill()
    process.wait()


def make_run(home: Path) -> WandbRun:
    return WandbRun("demo", "first", "0123abcd", home / "logs", {"training": {"seed": 42}})


def find_files(home: Path) -> list[Path]:
    return sorted((home / "logs" / "wandb").glob("*run-*/*.wandb"))


def wait_for(is_true: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def find_closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_an_offline_run_holds_everything_and_nothing_else(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_login()
    connect = partial(WandbSink, make_run(home))
    with LiveMetrics("W&B", connect, home / "unsent.jsonl", interval_seconds=0.05) as observer:
        observer.report_metrics({"loss": 2.0, "learning_rate": 0.1}, step=10)
        observer.report_metrics({"eval_loss": 1.5}, step=10)
        observer.report_metrics({"loss": 1.0}, step=20)
        observer.report_text("samples-20", "**Answer** <b>")
    [file] = find_files(home)
    rows = {row["_step"]: row for row in read_history(file)}
    assert rows[10].items() >= {
        "train/loss": 2.0, "train/learning_rate": 0.1, "eval/loss": 1.5
    }.items()  # fmt: skip
    assert rows[20]["train/loss"] == 1.0
    assert sorted(rows) == [10, 20]
    [page] = file.parent.rglob("*.html")
    assert page.read_text() == "<pre>**Answer** &lt;b&gt;</pre>"
    kinds = [record.WhichOneof("record_type") for record in read_records(file)]
    assert not {"stats", "output", "output_raw", "environment"} & set(kinds)
    [run] = [r.run for r in read_records(file) if r.WhichOneof("record_type") == "run"]
    assert (run.project, run.display_name, run.run_id) == ("demo", "first", "0123abcd")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["training"] == {"seed": 42}
    assert (run.host, run.git.remote_url, run.git.commit) == ("", "", "")
    names = {path.name for path in file.parent.rglob("*") if path.is_file()}
    assert names == {file.name, page.name, "debug.log", "debug-core.log", "debug-internal.log"}
    assert not (home / "user" / ".local").exists()


def test_a_resumed_training_has_the_same_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    for step in (10, 20):
        connect = partial(WandbSink, make_run(home))
        with LiveMetrics("W&B", connect, home / "unsent.jsonl", 0.05) as observer:
            observer.report_metrics({"loss": 1.0}, step)
        wandb.teardown()
    ids = {file.name for file in find_files(home)}
    assert ids == {"run-0123abcd.wandb"}
    rows = [row["_step"] for file in find_files(home) for row in read_history(file)]
    assert sorted(rows) == [10, 20]


def test_metrics_for_a_server_that_is_away_are_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", find_closed_port())
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    spool = home / "logs" / "unsent.jsonl"
    with caplog.at_level(logging.WARNING, "hone"):
        check_login()
        with LiveMetrics("W&B", partial(WandbSink, make_run(home)), spool, 0.02) as observer:
            observer.report_metrics({"loss": 2.0}, step=1)
    assert "does not answer" in caplog.text
    assert KEY not in caplog.text
    assert [row["step"] for row in read_jsonl(spool)] == [1]
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.teardown()
    LiveMetrics("W&B", partial(WandbSink, make_run(home)), spool).close()
    assert not spool.exists()
    [file] = find_files(home)
    assert [row["train/loss"] for row in read_history(file)] == [2.0]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[WandbServer]:
    found = WandbServer()
    monkeypatch.setenv("WANDB_BASE_URL", found.address)
    yield found
    wandb.teardown()
    found.stop()


def test_an_online_run_arrives_with_nothing_else(
    home: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    check_login()
    with LiveMetrics("W&B", partial(WandbSink, make_run(home)), home / "unsent.jsonl") as observer:
        observer.report_metrics({"loss": 2.0}, step=10)
        observer.report_metrics({"loss": 1.0}, step=20)
    assert [(row["_step"], row["train/loss"]) for row in server.history] == [(10, 2.0), (20, 1.0)]
    sent = "".join(server.requests)
    assert socket.gethostname() not in sent.replace(str(home), "")
    assert str(home) not in sent


def test_a_server_that_goes_in_the_middle_gets_everything_later(
    home: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    connect = partial(WandbSink, make_run(home))
    with LiveMetrics("W&B", connect, home / "unsent.jsonl", interval_seconds=0.02) as observer:
        observer.report_metrics({"loss": 2.0}, step=10)
        wait_for(lambda: any("UpsertBucket" in text for text in server.requests))
        server.stop()
        observer.report_metrics({"loss": 1.0}, step=20)
        time.sleep(0.3)
        server.start()
    assert [(row["_step"], row["train/loss"]) for row in server.history] == [(10, 2.0), (20, 1.0)]


def test_its_process_may_die(
    home: Path,
    server: WandbServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    connect = partial(WandbSink, make_run(home))
    with (
        caplog.at_level(logging.WARNING, "hone"),
        LiveMetrics("W&B", connect, home / "unsent.jsonl", interval_seconds=0.02) as observer,
    ):
        observer.report_metrics({"loss": 2.0}, step=10)
        wait_for(lambda: any("UpsertBucket" in text for text in server.requests))
        [core] = [p for p in psutil.Process().children() if "wandb-core" in p.name()]
        kill(core.pid)
        observer.report_metrics({"loss": 1.0}, step=20)
        wait_for(lambda: "are kept" in caplog.text)
        wait_for(lambda: sum("UpsertBucket" in text for text in server.requests) > 1)
    assert (20, 1.0) in [(row["_step"], row["train/loss"]) for row in server.history]


def test_without_a_key_it_is_refused_before_training(home: Path, server: WandbServer) -> None:
    with pytest.raises(RequestError, match="WANDB_API_KEY, which is not set") as caught:
        check_login()
    assert "WANDB_MODE=offline" in caught.value.hint


def test_a_wrong_key_is_refused_and_not_shown(
    home: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.accepts_keys = False
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with pytest.raises(RequestError, match="not logged in") as caught:
        check_login()
    assert caught.value.where == "WANDB_API_KEY"
    assert KEY not in str(caught.value)


def test_a_mode_that_wandb_does_not_know_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(RequestError, match="WANDB_MODE"):
        check_login()
