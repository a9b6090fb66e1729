"""Big files to the object store in parts, each by a signed URL of its own and tried again alone."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.versioning.lakefs_client import call_with_retries, make_timeout
from tasks.versioning.lakefs_errors import explain_failure, list_lakefs_errors
from tasks.versioning.object_connections import make_store_error, open_store_pool
from tasks.versioning.side_branches import SideBranch

if TYPE_CHECKING:
    import urllib3

LOG = logging.getLogger("hone")
# One request for less: starting and completing an upload are two calls more, and a file of this
# size is sent again as fast as its parts on any network that training data travels by.
MULTIPART_BYTES = 64 << 20
# S3 takes parts of 5 MiB and more; this much is sent again after a cut, and PARTS_AT_ONCE times as
# much is held in memory.
PART_BYTES = 16 << 20
MAX_PARTS = 10_000  # what S3 and lakeFS number
PARTS_AT_ONCE = 8


@dataclass(frozen=True)
class PartedUpload:
    """An object that is being sent in parts."""

    side: SideBranch
    path: str
    upload_id: str
    address: str
    """Where the store will hold the whole."""

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What the calls about it begin with."""
        return self.side.repository, self.side.name, self.upload_id, self.path


def choose_part_bytes(num_bytes: int) -> int:
    """Return the size of the parts of a file.

    >>> choose_part_bytes(1 << 30) == PART_BYTES, choose_part_bytes(MAX_PARTS << 25) == 1 << 25
    (True, True)
    """
    return max(PART_BYTES, -(-num_bytes // MAX_PARTS))


def upload_in_parts(
    side: SideBranch,
    path: str,
    pieces: Iterable[bytes],
    *,
    num_parts: int,
    metadata: dict[str, str],
    content_type: str,
) -> None:
    """Send an object in parts, several at a time; where that fails, the store forgets them.

    Args:
        side: The branch.
        path: Where the object goes.
        pieces: Its parts in order; what raises here ends the upload.
        num_parts: How many there are.
        metadata: The object's metadata.
        content_type: Its media type.

    Raises:
        LakeFSException: As the client's calls raise it, for `explain_lakefs_errors`.
    """
    upload, urls = _start(side, path, num_parts)
    try:
        _complete(upload, _send_parts(upload, pieces, urls), metadata, content_type)
    except BaseException:
        _abort(upload)
        raise


def _start(side: SideBranch, path: str, num_parts: int) -> tuple[PartedUpload, list[str]]:
    """Start an upload; the signed URLs of its parts come with it, where the server says them."""
    api = side.client.sdk_client.experimental_api
    made = call_with_retries(
        lambda: api.create_presign_multipart_upload(
            side.repository, side.name, path, parts=num_parts
        )
    )
    upload = PartedUpload(side, path, made.upload_id, made.physical_address)
    return upload, list(made.presigned_urls or ())


def _send_parts(upload: PartedUpload, pieces: Iterable[bytes], urls: list[str]) -> list[str]:
    """Send the parts and return the store's tags of them, in order."""
    store, waiting, tags = open_store_pool(), deque[Future[str]](), list[str]()
    with ThreadPoolExecutor(PARTS_AT_ONCE, "part") as pool:
        try:
            for number, content in enumerate(pieces, start=1):
                url = urls[number - 1] if number <= len(urls) else ""
                waiting.append(pool.submit(_send_part, upload, number, content, url, store))
                if len(waiting) == PARTS_AT_ONCE:
                    tags.append(waiting.popleft().result())
            tags += [sent.result() for sent in waiting]
        except BaseException:
            # Those on their way end before the upload is aborted, or the store would keep them.
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        finally:
            store.clear()
    return tags


def _send_part(
    upload: PartedUpload, number: int, content: bytes, url: str, store: urllib3.PoolManager
) -> str:
    """Send one part, again after a failure that may pass, and return the store's tag of it."""
    unused = [url] if url else []

    def send() -> str:
        # Signed anew for each attempt after the first: signatures run out in long uploads.
        place = unused.pop() if unused else _sign_part(upload, number)
        answer = store.request("PUT", place, body=content, timeout=make_timeout())
        if answer.status not in {200, 201}:
            raise make_store_error(answer)
        return str(answer.headers["ETag"])

    return call_with_retries(send)


def _sign_part(upload: PartedUpload, number: int) -> str:
    from lakefs_sdk.models.upload_part_from import UploadPartFrom

    api = upload.side.client.sdk_client.experimental_api
    source = UploadPartFrom(physical_address=upload.address)
    return str(api.upload_part(*upload.place, number, source).presigned_url)


def _complete(
    upload: PartedUpload, tags: list[str], metadata: dict[str, str], content_type: str
) -> None:
    from lakefs_sdk.models.complete_presign_multipart_upload import CompletePresignMultipartUpload
    from lakefs_sdk.models.upload_part import UploadPart

    parts = [UploadPart(part_number=n, etag=tag) for n, tag in enumerate(tags, start=1)]
    request = CompletePresignMultipartUpload(
        physical_address=upload.address,
        parts=parts,
        user_metadata=metadata,
        content_type=content_type,
    )
    api = upload.side.client.sdk_client.experimental_api
    try:
        call_with_retries(lambda: api.complete_presign_multipart_upload(*upload.place, request))
    except list_lakefs_errors():
        # An upload is completed once: the answer to that may have been lost.
        if not _is_there(upload, metadata):
            raise


def _is_there(upload: PartedUpload, metadata: dict[str, str]) -> bool:
    objects, side = upload.side.client.sdk_client.objects_api, upload.side
    with suppress(*list_lakefs_errors()):
        stats = call_with_retries(
            lambda: objects.stat_object(side.repository, side.name, upload.path)
        )
        return metadata.items() <= (stats.metadata or {}).items()
    return False


def _abort(upload: PartedUpload) -> None:
    """Have the store forget the parts; where that fails, say so."""
    from lakefs_sdk.models.abort_presign_multipart_upload import AbortPresignMultipartUpload

    api = upload.side.client.sdk_client.experimental_api
    request = AbortPresignMultipartUpload(physical_address=upload.address)
    try:
        call_with_retries(lambda: api.abort_presign_multipart_upload(*upload.place, request))
    except list_lakefs_errors() as err:
        reason = explain_failure(err, "aborting its upload", upload.path, "the server")
        LOG.warning("parts of %s may stay in the store: %s", upload.path, reason)
