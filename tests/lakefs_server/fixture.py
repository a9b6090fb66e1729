"""The lakeFS server that tests run against: a real one where there is one, else the stand-in."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deployments.lakefs_server import Keys, find_server, serve_lakefs
from tests.lakefs_server.server import StandIn, serve_stand_in

if TYPE_CHECKING:
    from lakefs.client import Client
    from lakefs.repository import Repository

# Not secrets: the keys of a server that lives as long as the tests. Theirs may not look like a
# real one's, or the secret scanners would find them.
ACCESS_KEY = "AKIAJTESTSONLYEXAMPLE"
SECRET_KEY = "tests-only-secret"
VARIABLES = ("LAKEFS_ENDPOINT", "LAKEFS_ACCESS_KEY", "LAKEFS_SECRET_KEY")


@dataclass(frozen=True)
class LakeFSServer:
    """A server that answers, and the keys to it."""

    kind: str
    """`real` or `stand-in`."""
    endpoint: str
    access_key: str
    secret_key: str
    store: Path | None = None
    """Where the objects' bytes lie, when the fixture started it."""

    @property
    def environment(self) -> dict[str, str]:
        """The three variables that lead to it."""
        return dict(zip(VARIABLES, (self.endpoint, self.access_key, self.secret_key), strict=True))

    def open_client(self) -> Client:
        """Return a client with its keys."""
        from lakefs.client import Client

        return Client(host=self.endpoint, username=self.access_key, password=self.secret_key)

    def create_repository(self) -> Repository:
        """Create an empty repository with a name of its own."""
        from lakefs.repository import Repository

        client, name = self.open_client(), f"hone-test-{uuid.uuid4().hex[:12]}"
        storage = client.sdk_client.config_api.get_config().storage_config
        prefix = storage.default_namespace_prefix or f"{storage.blockstore_type}://"
        namespace = prefix.rstrip("/") + "/" + name if not prefix.endswith("//") else prefix + name
        return Repository(name, client).create(namespace)


def describe_server() -> str:
    """Return the line that a test report's header shows."""
    if endpoint := os.environ.get("LAKEFS_ENDPOINT"):
        return f"lakefs: real server at {endpoint} (LAKEFS_ENDPOINT)"
    if program := find_server():
        version = subprocess.run(
            [program, "--version"], capture_output=True, text=True, check=False
        )
        return f"lakefs: real server, {program} ({version.stdout.strip()})"
    return "lakefs: the stand-in of tests/lakefs_server (no LAKEFS_ENDPOINT, no lakefs on the PATH)"


def pytest_report_header() -> str:
    return describe_server()


@pytest.fixture(scope="session")
def lakefs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeFSServer]:
    """A lakeFS server for the whole session."""
    if os.environ.get("LAKEFS_ENDPOINT"):
        yield LakeFSServer("real", *(os.environ[name] for name in VARIABLES))
    elif program := find_server():
        folder = tmp_path_factory.mktemp("lakefs")
        with serve_lakefs(program, folder, Keys(ACCESS_KEY, SECRET_KEY, "tests-only")) as endpoint:
            yield LakeFSServer("real", endpoint, ACCESS_KEY, SECRET_KEY, folder / "objects")
    else:
        folder = tmp_path_factory.mktemp("stand-in")
        with serve_stand_in(folder, {ACCESS_KEY: SECRET_KEY}) as stand_in:
            yield LakeFSServer("stand-in", stand_in.endpoint, ACCESS_KEY, SECRET_KEY, folder)


@pytest.fixture
def lakefs_repository(
    lakefs: LakeFSServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Repository]:
    """An empty repository on the session's server, to which the environment leads."""
    for name, value in lakefs.environment.items():
        monkeypatch.setenv(name, value)
    repository = lakefs.create_repository()
    yield repository
    repository.delete()


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in of the test's own, for faults; the environment leads to it."""
    with serve_stand_in(tmp_path / "stand-in", {ACCESS_KEY: SECRET_KEY}) as server:
        for name, value in describe_stand_in(server).environment.items():
            monkeypatch.setenv(name, value)
        yield server


def describe_stand_in(server: StandIn) -> LakeFSServer:
    """Return a stand-in as the tests see any server."""
    store = server.state.objects.folder
    return LakeFSServer("stand-in", server.endpoint, ACCESS_KEY, SECRET_KEY, store)
