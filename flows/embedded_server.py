"""The Prefect server that a run brings along where none is configured."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from configs.errors import RunError
from flows.environment import TAG
from flows.server_access import check_access
from tasks.records.home import find_home, find_project
from tasks.records.imports import pause_collection
from tasks.records.locks import hold_lock
from tasks.tracking.store import hide_password

START_SECONDS = 120
PR_SET_PDEATHSIG = 1
# Written when the first server was healthy: its database is complete. The database's own file says
# nothing, it is there as soon as its creation begins.
MARKER = "database-complete"


@dataclass(frozen=True)
class OwnServer:
    """A server that this process has started; the last one is in use."""

    process: subprocess.Popen[bytes]
    home: Path


_first_start = contextlib.ExitStack()
_own_servers: list[OwnServer] = []


def is_server_configured() -> bool:
    """Return whether the environment or the active Prefect profile names a server."""
    if os.environ.get("PREFECT_API_URL"):
        return True
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml"))
    if not profiles.is_file():
        return False
    content = tomllib.loads(profiles.read_text(encoding="utf-8"))
    name = os.environ.get("PREFECT_PROFILE", content.get("active", ""))
    return bool(content.get("profiles", {}).get(name, {}).get("PREFECT_API_URL"))


def start_server() -> bool:
    """Start an own Prefect server unless one is configured; it ends with this process.

    It starts in a process of its own while the caller goes on importing; call `wait_until_healthy`
    before the first flow. Its state lies in HONE_HOME/.prefect; it listens on a free loopback port.
    The first start of a HONE_HOME creates the database, which fails when two processes do it at
    once: it holds a lock until the server is healthy.

    Returns:
        Whether this is the first start of the HONE_HOME, which takes longer.
    """
    if is_server_configured():
        return False
    home = find_home() / ".prefect"
    home.mkdir(parents=True, exist_ok=True)
    port = _find_free_port()
    os.environ |= {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # It is of this very installation.
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
    }
    is_first = _lock_first_start(home)
    server = _start_process(home, port)
    _own_servers.append(OwnServer(server, home))
    # Registered before Prefect's own exit handlers, so it runs after they have sent the last logs.
    atexit.register(_stop_process, server)
    return is_first


def _lock_first_start(home: Path) -> bool:
    """Return whether this is the first start; if so, hold its lock until the server is healthy."""
    if (home / MARKER).exists():
        return False
    _first_start.enter_context(
        hold_lock(home / "first-start.lock", "the creation of Prefect's database")
    )
    if (home / MARKER).exists():  # made by the process that was waited for
        _first_start.close()
        return False
    return True


def wait_until_healthy() -> None:
    """Wait until the configured server answers.

    Raises:
        RequestError: It refuses our key.
        RunError: It does not answer in time, or the own server has ended.
    """
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return  # a profile names the server; Prefect's client finds it and reports errors itself
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if _own_servers and _own_servers[-1].process.poll() is not None:
            break
        if _is_healthy(url):
            _finish_first_start()
            if not _own_servers:
                check_access(url)
            return
        time.sleep(0.05)
    _first_start.close()
    raise _explain_silence(url)


@contextlib.contextmanager
def be_watched() -> Iterator[None]:
    """Let who watches a configured server know the flows of the block: by heartbeats and a tag.

    An own server ends with this process and has nothing that watches, so it gets neither: to stop
    sending heartbeats takes up to a second at the end of a flow, and a tag has every task ask the
    server for the limit of its tags, the first one for two seconds.
    """
    from prefect import tags
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    if _own_servers:
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            yield
    else:
        with tags(TAG):
            yield


def _is_healthy(url: str) -> bool:
    with (
        contextlib.suppress(URLError, HTTPException, ConnectionError, TimeoutError),
        urlopen(f"{url}/health", timeout=5),  # noqa: S310 - the configured address
    ):
        return True
    return False


def _finish_first_start() -> None:
    """Say that the database is complete, then let the next process go on."""
    if _own_servers:
        (_own_servers[-1].home / MARKER).touch()
    _first_start.close()


def _explain_silence(url: str) -> RunError:
    if not _own_servers:
        return RunError(
            message=f"the Prefect server at {hide_password(url)} does not answer",
            hint="start it and run again, or unset PREFECT_API_URL to use an own one",
        )
    own = _own_servers[-1]
    code = own.process.poll()
    state = "does not answer" if code is None else f"ended with code {code}"
    return RunError(
        message=f"the Prefect server of this run {state}",
        hint=f"see {own.home / 'server.log'}, and run again",
    )


def _start_process(home: Path, port: int) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",  # no schedulers: two servers may share the database
        "PREFECT__SERVER_FINAL": "1",
        "OMP_NUM_THREADS": "1",
    }
    with (home / "server.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.embedded_server", str(port)],
            cwd=find_project(),  # else a package `flows` in the current folder would be run
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C on the terminal is for the run, which needs the server
        )


def serve(port: int) -> None:
    """Serve the API on a loopback port until this process, or the one that started it, ends."""
    if sys.platform == "linux":  # elsewhere the parent's exit handler ends this process
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    with pause_collection():
        import uvicorn
        from prefect.server.api.server import create_app

    uvicorn.run(
        create_app,
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="error",
        lifespan="on",
    )


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop_process(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(timeout=5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
