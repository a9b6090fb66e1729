"""Whether the configured MLflow server takes our key, asked before anything is computed."""

from __future__ import annotations

import base64
import os
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from tasks.tracking.store import (
    REFUSALS,
    configure_mlflow,
    explain_refusal,
    find_tracking_uri,
    has_server,
)

QUESTION = "/api/2.0/mlflow/experiments/search?max_results=1"


def check_access() -> None:
    """Ask the server for something that it tells only its users.

    A server that is away is not this question's business: training goes on without it.

    Raises:
        RequestError: The server refuses the user.
    """
    uri = find_tracking_uri()
    if not has_server(uri):
        return
    parts = urlsplit(uri)
    place = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    request = Request(place + QUESTION, headers=_make_headers(user, password))  # noqa: S310
    try:
        urlopen(request, timeout=10).close()  # noqa: S310 - http, see has_server
    except HTTPError as err:
        if err.code in REFUSALS:
            raise explain_refusal(uri) from err
    except (URLError, OSError):
        return


def _make_headers(user: str, password: str) -> dict[str, str]:
    """Return the credentials that MLflow's own client would send."""
    configure_mlflow()
    from mlflow.utils.credentials import read_mlflow_creds

    found = read_mlflow_creds()
    user, password = user or found.username or "", password or found.password or ""
    if user:
        text = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"Authorization": f"Basic {text}"}
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}
