"""The lakeFS client: where it finds its keys, URIs, retries, and its errors in hone's words."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from configs.errors import RequestError
from tasks.versioning.lakefs_endpoint import check_endpoint
from tasks.versioning.lakefs_errors import explain_failure, find_status, list_lakefs_errors

if TYPE_CHECKING:
    import urllib3
    from lakefs.client import Client

T = TypeVar("T")

SCHEME = "lakefs://"
ENDPOINT, ACCESS_KEY, SECRET_KEY = "LAKEFS_ENDPOINT", "LAKEFS_ACCESS_KEY", "LAKEFS_SECRET_KEY"
URI_PATTERN = re.compile(
    r"lakefs://(?P<repository>[a-z0-9][a-z0-9-]{2,62})/(?P<ref>[^/\s]+)(?:/(?P<path>.*))?"
)
TIMEOUT_SECONDS: tuple[float, float] = (10, 60)
"""How long every call waits for a connection, and for the next bytes of an answer."""
# More than the threads of a download, so that none of them opens a connection for each request.
NUM_CONNECTIONS = 32
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class LakeFSPath:
    """`lakefs://REPOSITORY/REF/PATH` in its parts; the path is empty for a whole repository."""

    repository: str
    ref: str
    path: str

    @property
    def uri(self) -> str:
        """The URI that names it."""
        return f"lakefs://{self.repository}/{self.ref}/{self.path}"


@dataclass(frozen=True)
class Retries:
    """How often a call is made again, and how long to wait in between."""

    attempts: int = 6
    first_seconds: float = 0.25
    most_seconds: float = 10.0

    def wait_before(self, attempt: int, asked_seconds: float = 0.0) -> float:
        """Return the seconds to wait before an attempt (from 1): exponential, with full jitter."""
        ceiling = min(self.most_seconds, self.first_seconds * 2 ** (attempt - 1))
        return max(random.uniform(ceiling / 2, ceiling), min(asked_seconds, self.most_seconds))  # noqa: S311 not cryptographic


RETRIES = Retries()


def parse_uri(uri: str, where: str = "data.source") -> LakeFSPath:
    """Return the parts of a lakeFS URI.

    >>> parse_uri("lakefs://hone/main~2/flowroll/train.jsonl")
    LakeFSPath(repository='hone', ref='main~2', path='flowroll/train.jsonl')

    Args:
        uri: `lakefs://REPOSITORY/REF/PATH`.
        where: The config key that names it, for errors.

    Raises:
        RequestError: It is not of that form.
    """
    found = URI_PATTERN.fullmatch(uri)
    if not found:
        raise RequestError(
            message=f'"{uri}" is not a lakeFS URI',
            where=where,
            allowed="lakefs://REPOSITORY/REF/PATH with a branch, tag, commit or main~2 as REF",
            hint="repository names have 3 to 63 of a-z, 0-9 and -",
        )
    return LakeFSPath(found["repository"], found["ref"], (found["path"] or "").rstrip("/"))


def pin_uri(uri: str, commit: str) -> str:
    """Return a lakeFS URI at a commit, whatever ref it names.

    >>> pin_uri("lakefs://hone/main/flowroll", "4f2a")
    'lakefs://hone/4f2a/flowroll'
    """
    return replace(parse_uri(uri), ref=commit).uri.rstrip("/")


def open_client() -> Client:
    """Return a client of the configured lakeFS server; nothing is sent yet.

    LAKEFS_ENDPOINT, LAKEFS_ACCESS_KEY and LAKEFS_SECRET_KEY come first; without them the client's
    own chain applies (LAKECTL_* variables, ~/.lakectl.yaml), as lakectl's users have it.

    Raises:
        RequestError: No server or no keys are configured.
    """
    import yaml
    from lakefs.client import Client
    from lakefs.exceptions import LakeFSException

    if os.environ.get(ENDPOINT):
        check_endpoint(os.environ[ENDPOINT], ENDPOINT)
    own = {name: os.environ.get(name, "") for name in (ENDPOINT, ACCESS_KEY, SECRET_KEY)}
    missing = [name for name, value in own.items() if not value]
    if 0 < len(missing) < len(own):
        raise _say_what_to_set(f"{' and '.join(missing)} not set, though the others are")
    try:
        client = (
            Client()
            if missing
            else Client(host=own[ENDPOINT], username=own[ACCESS_KEY], password=own[SECRET_KEY])
        )
    except (LakeFSException, TypeError, KeyError) as err:
        raise _say_what_to_set("no lakeFS server is configured") from err
    except yaml.YAMLError:  # not `from err`: its text may hold a line of the file
        raise _say_what_to_set("lakectl's settings file is no YAML") from None
    check_endpoint(client.config.host, ENDPOINT if not missing else _name_lakectl_setting())
    _set_up_connections(client.sdk_client.objects_api.api_client.rest_client)
    return client


def _name_lakectl_setting() -> str:
    variable = "LAKECTL_SERVER_ENDPOINT_URL"
    return variable if os.environ.get(variable) else "~/.lakectl.yaml: server.endpoint_url"


def _set_up_connections(rest: Any) -> None:
    """Give the connections that all parts of a client share our redirects, number and limits."""
    rest.pool_manager.connection_pool_kw |= {
        "retries": make_redirects(),
        "maxsize": NUM_CONNECTIONS,
        "block": False,
    }
    request = rest.request

    def request_within_limits(*values: Any, _request_timeout: Any = None, **options: Any) -> Any:
        # The high-level client names no timeout, and would wait for ever.
        return request(*values, _request_timeout=_request_timeout or TIMEOUT_SECONDS, **options)

    rest.request = request_within_limits


def make_timeout() -> urllib3.Timeout:
    """Return urllib3's limits for a request that does not go by the client's own calls."""
    import urllib3

    connect, read = TIMEOUT_SECONDS
    return urllib3.Timeout(connect=connect, read=read)


def make_redirects() -> urllib3.Retry:
    """Return urllib3's settings for following redirects and making no call again.

    The retries are ours: urllib3's own have no waiting between them. A `total` of 0 would count the
    redirects too.
    """
    import urllib3

    return urllib3.Retry(None, connect=0, read=0, redirect=5, status=0, other=0)


def find_endpoint(client: Client) -> str:
    """Return the server's address without any secret: scheme, host and port."""
    parts = urlsplit(client.config.host)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def call_with_retries(call: Callable[[], T], retries: Retries | None = None) -> T:
    """Return what an idempotent call returns, made again after a failure that may pass.

    Throttling (429), errors of the server (5xx) and lost connections may pass; the last failure is
    raised as it came, for `explain_lakefs_errors`.
    """
    retries = retries or RETRIES
    for attempt in range(1, retries.attempts):
        try:
            return call()
        except list_lakefs_errors() as err:
            if not is_transient(err):
                raise
            time.sleep(retries.wait_before(attempt, read_retry_after(err)))
    return call()


def is_transient(err: BaseException) -> bool:
    """Tell whether a failure may pass: throttled, an error of the server, a lost connection."""
    from urllib3.exceptions import HTTPError, LocationParseError, SSLError

    status = find_status(err)
    if status is not None:
        return status in TRANSIENT
    return isinstance(err, HTTPError | OSError) and not isinstance(
        err, SSLError | LocationParseError
    )


def read_retry_after(err: BaseException) -> float:
    """Return the seconds that a failed answer asks to wait (Retry-After), or 0."""
    headers = getattr(err, "headers", None) or {}
    value = {str(k).lower(): v for k, v in dict(headers).items()}.get("retry-after", "0")
    return float(value) if str(value).isdigit() else 0.0


@contextmanager
def explain_lakefs_errors(what: str, where: str) -> Iterator[None]:
    """Turn the client's exceptions into one clear error.

    Args:
        what: What is being done, such as "reading lakefs://hone/main/rows".
        where: The config key or command that asked for it.

    Raises:
        RequestError: Wrong keys, no right to it, no such repository, ref or object.
        RunError: The server is away, throttles or fails.
    """
    try:
        yield
    except list_lakefs_errors() as err:
        # Not `from err`: its text may hold a signed URL, and Prefect keeps the log of causes.
        raise explain_failure(err, what, where, _name_endpoint()) from None


def _name_endpoint() -> str:
    configured = os.environ.get(ENDPOINT) or os.environ.get("LAKECTL_SERVER_ENDPOINT_URL")
    if not configured:
        return "the server of ~/.lakectl.yaml"
    parts = urlsplit(configured if "://" in configured else f"http://{configured}")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _say_what_to_set(message: str) -> RequestError:
    return RequestError(
        message=message,
        where=ENDPOINT,
        allowed=f"{ENDPOINT}, {ACCESS_KEY} and {SECRET_KEY}, or lakectl's own settings",
        hint="`make lakefs` starts a server here and prints the three variables",
    )
