"""Where MLflow keeps runs and models: its address, its quiet settings, its first use."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import urllib.parse
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import RequestError, RunError
from tasks.records.home import find_home, find_project
from tasks.records.locks import hold_lock

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOG = logging.getLogger("hone")
REFUSALS = {401, 403}

REQUIRED_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # Otherwise saving a model copies the uv project of the current folder into it.
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
}
DEFAULT_SETTINGS = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # MLflow's own 7 retries keep a run waiting for four minutes when the server is away.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}


def configure_mlflow() -> None:
    """Set MLflow's environment: no telemetry, no pickle, quiet logs; before it is imported."""
    os.environ.update(REQUIRED_SETTINGS)
    for name, value in DEFAULT_SETTINGS.items():
        os.environ.setdefault(name, value)


def find_tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI, or the SQLite database in HONE_HOME."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{find_home() / 'mlflow.db'}"


def find_registry_uri() -> str:
    """Return MLFLOW_REGISTRY_URI, or the tracking address: one server usually does both."""
    return os.environ.get("MLFLOW_REGISTRY_URI") or find_tracking_uri()


def find_artifact_root() -> Path:
    """Return the folder of the artifacts where no MLflow server decides about it."""
    return find_home() / "mlartifacts"


def has_server(uri: str) -> bool:
    """Return whether an MLflow server answers at `uri`, as opposed to a database that we open."""
    return urllib.parse.urlsplit(uri).scheme in {"http", "https"}


def find_database_file(uri: str) -> Path | None:
    """Return the file of a SQLite address, or None for any other address.

    >>> find_database_file("sqlite:////srv/hone/mlflow.db")
    PosixPath('/srv/hone/mlflow.db')
    >>> find_database_file("http://mlflow:5000") is None
    True
    """
    prefix = "sqlite:///"
    return Path(uri.removeprefix(prefix)).absolute() if uri.startswith(prefix) else None


def prepare_database() -> None:
    """Create the SQLite database, once, behind a lock.

    Two processes that create it at once both fail, and one that is killed on the way leaves a
    database that MLflow can neither use nor repair. So it is made under another name, and
    renamed when it is complete. Without a SQLite address there is nothing to prepare.
    """
    file = find_database_file(find_tracking_uri())
    if file is None or file.exists():
        return
    with hold_lock(file.with_name(f"{file.name}.lock"), f"the creation of {file}"):
        if not file.exists():
            temporary = file.with_name(f".{file.name}.new")
            temporary.unlink(missing_ok=True)
            _create_database(temporary)
            temporary.replace(file)


def _create_database(file: Path) -> None:
    configure_mlflow()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(f"sqlite:///{file}", find_artifact_root().as_uri())
    store.engine.dispose()


def start_preparation() -> subprocess.Popen[bytes] | None:
    """Begin to create the database in a process of its own, so that nobody waits for it later.

    Returns:
        The process, or None when there is nothing to create. Nobody needs to wait for it:
        `open_client` does, by the lock.
    """
    file = find_database_file(find_tracking_uri())
    if file is None or file.exists():
        return None
    return subprocess.Popen(
        [sys.executable, "-m", "tasks.tracking.store"],
        cwd=find_project(),
        env=os.environ | {"HONE_HOME": str(find_home())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def open_client() -> MlflowClient:
    """Return a client of the configured tracking server and model registry.

    Raises:
        RunError: The database cannot be opened, or is one that another version of MLflow made.
    """
    prepare_database()
    configure_mlflow()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri = find_tracking_uri()
    try:
        return MlflowClient(tracking_uri=uri, registry_uri=find_registry_uri())
    except MlflowException as err:
        raise RunError(
            where=hide_password(uri),
            message=f"MLflow cannot open this store: {hide_password(str(err))}",
            hint="set MLFLOW_TRACKING_URI to another one, or do what MLflow says",
        ) from err


@contextmanager
def explain_failures(what: str, uri: str) -> Iterator[None]:
    """Say which part of MLflow failed, and where, instead of MLflow's bare error.

    Args:
        what: The part in words, such as `the model registry`.
        uri: Its address; passwords in it, and in MLflow's message, are not shown.

    Raises:
        RequestError: The server refuses our key, or what it is for.
        RunError: MLflow failed in the block.
    """
    configure_mlflow()
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as err:
        if has_server(uri) and err.get_http_status_code() in REFUSALS:
            raise explain_refusal(uri) from err
        raise RunError(
            where=hide_password(uri),
            message=f"{what} failed: {hide_password(str(err))}",
            hint="see whether it is up, and run again",
        ) from err


def explain_refusal(uri: str) -> RequestError:
    """Return the error for a server that asks for another key than we have."""
    return RequestError(
        where="MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD",
        message=f"MLflow at {hide_password(uri)} refuses this user, or what it asks for",
        allowed="a user of that server who may write",
        hint="set both in the environment or in .env; docs/operations.md says how users are made",
    )


def load_pyfunc() -> Any:
    """Return the module `mlflow.pyfunc`; it warns about its own type hints when imported."""
    configure_mlflow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.pyfunc
    return mlflow.pyfunc


def hide_password(text: str) -> str:
    """Return an address, or a message with addresses, that may be shown.

    >>> hide_password("postgresql://hone:secret@db/mlflow")
    'postgresql://hone:***@db/mlflow'
    """
    return re.sub(r"://([^:/@\s]*):[^@\s]+@", r"://\1:***@", text)


if __name__ == "__main__":
    prepare_database()
