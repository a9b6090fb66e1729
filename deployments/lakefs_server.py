"""Start a lakeFS server on this machine: one process, its stores in a folder, no database."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from configs.errors import RequestError, RunError

HOST = "127.0.0.1"
START_SECONDS = 30
DOWNLOAD_SECONDS = 600


@dataclass(frozen=True)
class Keys:
    """What the server's first start sets itself up with; the same ones open it later."""

    access_key: str
    secret_key: str
    encryption_key: str


def find_server() -> str | None:
    """Return the `lakefs` program of the PATH or of this Python's environment, or None."""
    return shutil.which("lakefs") or shutil.which("lakefs", path=str(Path(sys.executable).parent))


def bring_server() -> str:
    """Return the `lakefs` program, brought by the client package's installer where it is missing.

    Raises:
        RequestError: There is none and the installer cannot bring it.
    """
    if program := find_server():
        return program
    try:
        subprocess.run(
            [sys.executable, "-m", "lakefs.download"], check=True, timeout=DOWNLOAD_SECONDS,
            stdout=sys.stderr, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as err:
        raise _say_how_to_get_it(err) from err
    if program := find_server():
        return program
    raise _say_how_to_get_it(None)


def _say_how_to_get_it(err: Exception | None) -> RequestError:
    said = str(getattr(err, "stderr", "") or err or "it left no program").strip()
    return RequestError(
        message="no `lakefs` on the PATH, and `python -m lakefs.download` could not bring it "
        f"({said.splitlines()[-1][:200]})",
        hint="put lakeFS's server program on the PATH (its releases or container image have it), "
        "or set LAKEFS_ENDPOINT, LAKEFS_ACCESS_KEY and LAKEFS_SECRET_KEY for a server elsewhere",
    )


@contextmanager
def serve_lakefs(program: str, folder: Path, keys: Keys, port: int = 0) -> Iterator[str]:
    """Run a server until the block ends, and give its endpoint.

    A second start on the same folder finds everything again. Where the server says something,
    `folder/server.log` has it.

    Args:
        program: The `lakefs` program.
        folder: For its stores and its log.
        keys: Its keys; those of the first start stay valid.
        port: The loopback port; 0 takes a free one.

    Raises:
        RequestError: The port is taken.
        RunError: The server does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = reserve_port(port)
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "run"], env=make_environment(folder, keys, port), cwd=folder,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us, who stop it in order
        )  # fmt: skip
    try:
        endpoint = f"http://{HOST}:{port}"
        _wait_until_healthy(endpoint, process, log)
        yield endpoint
    finally:
        process.terminate()
        try:
            process.wait(timeout=START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def reserve_port(port: int, variable: str = "make lakefs PORT") -> int:
    """Return the port if nothing listens on it; a free one for 0.

    Args:
        port: A port of the loopback.
        variable: How another one is named.

    Raises:
        RequestError: Something listens on it.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as err:
            raise RequestError(
                message=f"port {port} of {HOST} is taken ({err.strerror})",
                where="--port",
                allowed="a free port",
                hint=f"name another one: {variable}={port + 1}",
            ) from err
        return int(listener.getsockname()[1])


def make_environment(folder: Path, keys: Keys, port: int) -> dict[str, str]:
    """Return the environment of a server whose stores lie in a folder."""
    # The settings of a lakeFS elsewhere that this shell has are not for this one.
    others = {k: v for k, v in os.environ.items() if not k.startswith("LAKEFS_")}
    inherited = make_hook_keys() | others
    return inherited | {
        # The hooks of `hone data watch` ask Prefect and the guard; the server is on loopback.
        "LAKEFS_ACTIONS_LUA_NET_HTTP_ENABLED": "true",
        "LAKEFS_DATABASE_TYPE": "local",
        "LAKEFS_DATABASE_LOCAL_PATH": str(folder / "metadata"),
        "LAKEFS_BLOCKSTORE_TYPE": "local",
        "LAKEFS_BLOCKSTORE_LOCAL_PATH": str(folder / "objects"),
        "LAKEFS_AUTH_ENCRYPT_SECRET_KEY": keys.encryption_key,
        "LAKEFS_LISTEN_ADDRESS": f"{HOST}:{port}",
        "LAKEFS_STATS_ENABLED": "false",
        # A release asks its vendor about updates when it starts: not from here.
        "LAKEFS_SECURITY_AUDIT_CHECK_URL": "http://127.0.0.1:9/",
        "LAKEFS_SECURITY_CHECK_LATEST_VERSION": "false",
        "LAKEFS_INSTALLATION_USER_NAME": "admin",
        "LAKEFS_INSTALLATION_ACCESS_KEY_ID": keys.access_key,
        "LAKEFS_INSTALLATION_SECRET_ACCESS_KEY": keys.secret_key,
    }


def make_hook_keys() -> dict[str, str]:
    """Return what the hooks send, made of the keys that this shell has; nobody types it twice."""
    keys = {}
    names = ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")
    if text := next(filter(None, map(os.environ.get, names)), None):
        encoded = base64.b64encode(text.encode()).decode()
        keys["LAKEFSACTION_PREFECT_AUTHORIZATION"] = f"Basic {encoded}"
    if token := os.environ.get("HONE_GUARD_TOKEN"):
        keys["LAKEFSACTION_HONE_GUARD_TOKEN"] = token
    return keys


def _wait_until_healthy(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{endpoint}/_health", timeout=2):  # noqa: S310 our own
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RunError(
        message=f"lakefs did not start: {log.read_text(errors='replace').strip()[-500:]}",
        where=str(log),
        hint="see the log; a store of another version can be moved away",
    )
