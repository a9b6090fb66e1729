"""`make lakefs`: a lakeFS server on this machine with a repository that holds the example data.

Run: python -m deployments.lakefs [--port N]
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import HoneError, RunError
from deployments.lakefs_server import Keys, bring_server, serve_lakefs
from tasks.records.home import find_home, find_project
from tasks.records.writing import read_json

if TYPE_CHECKING:
    from lakefs.client import Client

FOLDER = ".lakefs"
DEFAULT_PORT = 8000  # lakeFS's own
REPOSITORY, BRANCH, PATH = "hone", "main", "flowroll"
EXAMPLE = find_project() / "data" / "flowroll"
EXAMPLE_FILES = ("README.md", "train.jsonl", "eval/*.jsonl")


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="loopback port; 0: a free one"
    )
    port = parser.parse_args(arguments).port
    folder = find_home() / FOLDER
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        keys = load_keys(folder / "keys.json")
        with serve_lakefs(bring_server(), folder, keys, port) as endpoint:
            commit = put_example(endpoint, keys)
            print_settings(endpoint, keys, commit)
            while not stop.wait(1):
                pass
    except HoneError as err:
        print(f"hone: {err}", file=sys.stderr)  # noqa: T201 the command's output
        return err.exit_code
    return 0


def load_keys(path: Path) -> Keys:
    """Return the server's keys, made and kept (for this user alone) by its first start."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = {
            "access_key": "AKIAJ" + secrets.token_hex(8).upper(),
            "secret_key": secrets.token_urlsafe(30),
            "encryption_key": secrets.token_urlsafe(30),
        }
        path.touch(mode=0o600)  # before there is anything to read in it
        path.write_text(json.dumps(made), encoding="utf-8")
    return Keys(**read_json(path))


def put_example(endpoint: str, keys: Keys) -> str:
    """Commit the example data to the repository's main branch, and return the branch's commit.

    Where the branch holds anything below the path already, it stays as it is: what people pushed
    there is theirs.

    Raises:
        RunError: The server does not take it.
    """
    from lakefs.client import Client
    from lakefs.exceptions import LakeFSException

    client: Client = Client(host=endpoint, username=keys.access_key, password=keys.secret_key)
    try:
        return _commit_example(client)
    except LakeFSException as err:
        raise RunError(
            message=f"the server does not take the example data ({err})",
            where=endpoint,
            hint=f"see server.log in {find_home() / FOLDER}; without that folder all is made anew",
        ) from err


def _commit_example(client: Client) -> str:
    from lakefs.repository import Repository

    repository = Repository(REPOSITORY, client).create(f"local://{REPOSITORY}", exist_ok=True)
    branch = repository.branch(BRANCH)
    head = branch.get_commit().id
    if any(repository.commit(head).objects(prefix=f"{PATH}/", max_amount=1)):
        return str(head)
    for pattern in EXAMPLE_FILES:
        for file in sorted(EXAMPLE.glob(pattern)):
            name = f"{PATH}/{file.relative_to(EXAMPLE).as_posix()}"
            branch.object(name).upload(file.read_bytes(), pre_sign=False)
    branch.commit("Add the example data", metadata={"by": "make lakefs"})
    return str(branch.get_commit().id)


def print_settings(endpoint: str, keys: Keys, commit: str) -> None:
    """Print what to export, and the next command."""
    lines = (
        f"lakeFS answers at {endpoint}; Ctrl-C stops it. Its stores: {find_home() / FOLDER}",
        f"lakefs://{REPOSITORY}/{BRANCH}/{PATH} is at commit {commit[:12]}. In another terminal:",
        "",
        f"  export LAKEFS_ENDPOINT={endpoint}",
        f"  export LAKEFS_ACCESS_KEY={keys.access_key}",
        f"  export LAKEFS_SECRET_KEY={keys.secret_key}",
        "  hone run tiny-lakefs",
    )
    print("\n".join(lines), flush=True)  # noqa: T201 the command's output


if __name__ == "__main__":
    sys.exit(main())
