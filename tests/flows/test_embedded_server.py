from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from prefect.context import TagsContext
from prefect.settings import get_current_settings

from flows import embedded_server
from tests.flows.running import ROOT, make_environment

START = """
import time
from configs.errors import RunError
from flows import embedded_server
{change}
is_first = embedded_server.start_server()
begin = time.monotonic()
try:
    embedded_server.wait_until_healthy()
except RunError as err:
    print(err)
print(is_first, time.monotonic() - begin < 60)
"""


def start(home: Path, cwd: Path, change: str = "") -> subprocess.Popen[str]:
    environment = make_environment(home, PYTHONPATH=str(ROOT))
    return subprocess.Popen(
        [sys.executable, "-P", "-c", START.format(change=textwrap.dedent(change))],
        cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_only_a_healthy_server_ends_the_first_start(tmp_path: Path) -> None:
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    (home / ".prefect").mkdir(parents=True)
    (home / ".prefect" / "prefect.db").touch()  # SQLite makes it before it has any table
    # A package of this name in the current folder is not what the server runs.
    (cwd / "flows").mkdir(parents=True)
    (cwd / "flows" / "__init__.py").write_text("raise SystemExit(7)")
    processes = [start(home, cwd), start(home, cwd)]
    said = sorted(process.communicate(timeout=300)[0].strip() for process in processes)
    assert said == ["False True", "True True"]
    assert (home / ".prefect" / "database-complete").is_file()


def test_a_server_that_dies_is_not_waited_for(tmp_path: Path) -> None:
    change = """
        import subprocess, sys
        def die(home, port):
            return subprocess.Popen([sys.executable, "-c", "raise SystemExit(5)"])
        embedded_server._start_process = die
    """
    begin = time.monotonic()
    said, _ = start(tmp_path, tmp_path, change).communicate(timeout=100)
    assert time.monotonic() - begin < 60
    assert "of this run ended with code 5" in said
    assert str(tmp_path / ".prefect" / "server.log") in said
    assert not (tmp_path / ".prefect" / "database-complete").exists()


def test_only_a_configured_server_has_something_to_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_server, "_own_servers", [])
    with embedded_server.be_watched():
        assert get_current_settings().flows.heartbeat_frequency is not None
        assert TagsContext.get().current_tags == {"hone"}
    monkeypatch.setattr(embedded_server, "_own_servers", [object()])
    with embedded_server.be_watched():
        assert get_current_settings().flows.heartbeat_frequency is None
        assert not TagsContext.get().current_tags
    assert get_current_settings().flows.heartbeat_frequency is not None
