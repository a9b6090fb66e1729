"""Open the bytes of lakeFS objects: through the server, or by signed URLs where it offers them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from tasks.versioning.downloads import OpenAt
from tasks.versioning.lakefs_client import NUM_CONNECTIONS, make_redirects, make_timeout
from tasks.versioning.object_cache import RemoteObject

if TYPE_CHECKING:
    import urllib3
    from lakefs.client import Client
    from urllib3.response import BaseHTTPResponse

AUTHENTICATION = ["basic_auth", "jwt_token"]
GONE = 410


@dataclass(frozen=True)
class StorageFacts:
    """What the server says of the store behind it."""

    signs_urls: bool
    takes_parts: bool
    """Whether big files can be sent in parts, each to a signed URL of its own."""
    has_certain_md5: bool
    """Whether its checksums of 32 digits are MD5s; object stores that encrypt have other tags."""


def read_storage(client: Client) -> StorageFacts:
    """Return what the server says of its store."""
    # Not client.storage_config: the package keeps that for all clients of a process together.
    config = client.sdk_client.config_api.get_config()
    storage = config.storage_config
    return StorageFacts(
        signs_urls=bool(storage.pre_sign_support),
        takes_parts=bool(storage.pre_sign_multipart_upload),
        has_certain_md5=storage.blockstore_type == "local",
    )


def make_opener(client: Client, repository: str, commit: str, *, signed: bool) -> OpenAt:
    """Return the function that opens an object of a commit from an offset on."""
    if signed:
        return _make_signed_opener(client, repository, commit)
    base = f"{client.config.host}/repositories/{quote(repository)}/refs/{quote(commit)}/objects"

    def open_at(entry: RemoteObject, offset: int) -> BaseHTTPResponse:
        api = client.sdk_client.objects_api.api_client  # may renew its token
        headers = _ask_from(offset)
        api.update_params_for_auth(headers, None, AUTHENTICATION, "", "GET", None)
        url = f"{base}?{urlencode({'path': entry.path})}"
        response = _get(api.rest_client.pool_manager, url, headers)
        if response.status not in {200, 206}:
            raise _make_error(response)
        return response

    return open_at


def _make_signed_opener(client: Client, repository: str, commit: str) -> OpenAt:
    pool = open_store_pool()

    def open_at(entry: RemoteObject, offset: int) -> BaseHTTPResponse:
        # Signed anew for each connection, as signatures run out in long downloads.
        stats = client.sdk_client.objects_api.stat_object(
            repository, commit, entry.path, presign=True
        )
        response = _get(pool, stats.physical_address, _ask_from(offset))
        if response.status not in {200, 206}:
            raise make_store_error(response)
        return response

    return open_at


def open_store_pool() -> urllib3.PoolManager:
    """Return connections to what signed URLs name: the keys for lakeFS are not for the store."""
    import urllib3

    return urllib3.PoolManager(maxsize=NUM_CONNECTIONS, retries=make_redirects())


def _ask_from(offset: int) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity"}
    return headers | ({"Range": f"bytes={offset}-"} if offset else {})


def _get(pool: Any, url: str, headers: dict[str, str]) -> BaseHTTPResponse:
    response: BaseHTTPResponse = pool.request(
        "GET", url, headers=headers, preload_content=False, timeout=make_timeout()
    )
    return response


def _make_error(response: BaseHTTPResponse) -> Exception:
    """Return the client's exception for a failed answer, with the message in its body."""
    from lakefs.exceptions import ServerException

    body = response.read()
    response.release_conn()
    error: Exception = ServerException(
        response.status, response.reason, body, dict(response.headers)
    )
    return error


def make_store_error(response: BaseHTTPResponse) -> Exception:
    """Return the exception for what the store answers to a signed URL."""
    from lakefs.exceptions import ServerException
    from urllib3.exceptions import HTTPError

    response.close()
    if response.status == 403:  # the signature ran out: the next attempt has a new one
        return HTTPError("the store refuses the signed URL")
    status = GONE if response.status == 404 else response.status
    error: Exception = ServerException(status, response.reason, None, dict(response.headers))
    return error
