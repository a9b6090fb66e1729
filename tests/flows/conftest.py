"""A small project, one real run of it, and a Prefect server for the flows of this session."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from configs.load import load_config
from flows import cli
from flows.embedded_server import start_server, wait_until_healthy
from flows.results import RunResult, Stage
from tasks.tracking.store import prepare_database
from tests.flows.running import Outcome, run_hone, write_project

RunFlow = Callable[..., RunResult]
CallHone = Callable[..., Outcome]


@pytest.fixture(scope="session", autouse=True)
def prefect_logging() -> None:
    """Let Prefect set up its handlers before a test replaces the stream that they write to."""
    import prefect.logging.configuration

    prefect.logging.configuration.setup_logging()


@pytest.fixture(scope="session")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preset of a small task, with its data beside it."""
    return write_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def published(preset: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The first run of the small task, in an empty HONE_HOME, on the embedded defaults."""
    home = tmp_path_factory.mktemp("published") / "home"
    home.mkdir()
    outcome = run_hone(home, "run", str(preset), "--json")
    assert outcome.code == 0, outcome.stderr
    return outcome


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the Prefect server that a run brings along; it ends with this process."""
    home = tmp_path_factory.mktemp("server")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            patch.delenv(name)
        # `start_server` changes the environment; what is set here is put back at the end.
        patch.setenv("PREFECT_HOME", str(home / "no-profiles"))
        patch.setenv("PREFECT_API_URL", "")
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        patch.setenv("HONE_HOME", str(home))
        start_server()
        wait_until_healthy()
        return os.environ["PREFECT_API_URL"]


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database; to make one takes seconds, to copy it nothing."""
    home = tmp_path_factory.mktemp("database")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("HONE_HOME", str(home))
        prepare_database()
    return home / "mlflow.db"


@pytest.fixture
def home(home: Path, database: Path) -> Path:
    """A HONE_HOME with an MLflow database."""
    shutil.copy(database, home / "mlflow.db")
    return home


@pytest.fixture
def warm_home(published: Outcome, home: Path) -> Path:
    """A HONE_HOME in which the data is formatted and the base model is evaluated; no more."""
    copy_warm_entries(published.home, home)
    return home


def copy_warm_entries(published: Path, home: Path) -> None:
    """Copy what is left of the published run when its training and verdict are taken away."""
    for stage in ("blobs", "version", "format"):
        shutil.copytree(published / "cache" / stage, home / "cache" / stage)
    for manifest in published.glob("cache/evaluate/*/manifest.json"):
        if '"arm": "baseline"' in manifest.read_text(encoding="utf-8"):
            folder = home / manifest.parent.relative_to(published)
            shutil.copytree(manifest.parent, folder)


@pytest.fixture
def on_server(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Flows of this process find the session's server; Prefect reads the environment only once."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setenv("PREFECT_API_URL", server)
    with temporary_settings({PREFECT_API_URL: server}):
        yield


@pytest.fixture
def run_flow(on_server: None, preset: Path) -> RunFlow:
    """Run the flow on the small task in this process: `run_flow("key=value", until=...)`."""
    from flows.finetune import finetune

    def run(*overrides: str, until: Stage | None = None) -> RunResult:
        return finetune(load_config(str(preset), overrides), until=until)

    return run


@pytest.fixture
def call_hone(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[CallHone]:
    """Run the command line in this process; what it changes in the process is put back."""

    def call(*arguments: str) -> Outcome:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["hone", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        stdout, stderr = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Outcome(ended.value.code, stdout, stderr, home)

    environment, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    with keep_logger("hone"):
        yield call
    signal.signal(signal.SIGTERM, handler)
    os.environ.clear()
    os.environ.update(environment)


@contextlib.contextmanager
def keep_logger(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    handlers, propagate, level = list(logger.handlers), logger.propagate, logger.level
    yield
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)
