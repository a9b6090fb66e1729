"""Download an object in a stream: resumed after a cut connection, verified, never half-read."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from configs.errors import RunError
from tasks.versioning import lakefs_client
from tasks.versioning.lakefs_client import is_transient, read_retry_after
from tasks.versioning.lakefs_errors import list_lakefs_errors
from tasks.versioning.object_cache import RemoteObject
from tasks.versioning.streaming import iter_pieces

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

LOG = logging.getLogger("hone")
CHUNK_BYTES = 1 << 20  # of what an earlier attempt left, read from the disk
# No more threads write and hash at once than there are processors: the others wait for bytes,
# which is why they are more.
AT_WORK = threading.BoundedSemaphore(os.cpu_count() or 1)

OpenAt = Callable[[RemoteObject, int], "BaseHTTPResponse"]
"""Opens an object's bytes from an offset on; raises the client's exceptions."""


class DownloadStoppedError(Exception):
    """Another download failed, so that this one was given up."""


class Received:
    """The bytes of an object that have come so far, and their digests.

    Args:
        has_md5: Whether to take the MD5 too, which takes more time than all the rest.
    """

    def __init__(self, *, has_md5: bool) -> None:
        self.has_md5 = has_md5
        self.start_again()

    def start_again(self) -> None:
        """Forget what came."""
        self.num_bytes = 0
        self.sha256 = hashlib.sha256()
        self.md5 = hashlib.md5(usedforsecurity=False)

    def add(self, piece: bytes | memoryview) -> None:
        """Count the next bytes."""
        self.num_bytes += len(piece)
        self.sha256.update(piece)
        if self.has_md5:
            self.md5.update(piece)

    def is_intact(self, entry: RemoteObject) -> bool:
        """Tell whether these are the bytes that the commit records."""
        if self.num_bytes != entry.num_bytes:
            return False
        if self.has_md5 and entry.md5:
            return self.md5.hexdigest() == entry.md5
        return entry.sha256 in {None, self.sha256.hexdigest()}


def download_object(
    entry: RemoteObject,
    partial: Path,
    *,
    open_at: OpenAt,
    stopped: threading.Event,
    is_md5_certain: bool = True,
) -> str:
    """Bring an object's bytes into `partial`, and return their SHA-256.

    Bytes that an earlier attempt left in `partial` are kept. What has come is compared with the
    size and the checksum that the commit records (the SHA-256 of what hone pushed, else the MD5 if
    the checksum is one); where they differ, everything is read once more.

    Args:
        entry: The object.
        partial: The file to fill.
        open_at: Opens the object's bytes from an offset on.
        stopped: Set when the download is to be given up.
        is_md5_certain: Whether a checksum of 32 digits is an MD5 in this store for certain.

    Raises:
        RunError: The bytes are not those that the commit records.
        DownloadStoppedError: `stopped` was set.
    """
    first = Received(has_md5=entry.sha256 is None)
    _receive(entry, partial, first, open_at, stopped)
    if first.is_intact(entry):
        return first.sha256.hexdigest()
    LOG.warning("lakefs: %s arrived with another checksum; reading it again", entry.path)
    partial.unlink(missing_ok=True)
    second = Received(has_md5=True)
    _receive(entry, partial, second, open_at, stopped)
    digest = second.sha256.hexdigest()
    if second.is_intact(entry):
        return digest
    is_same_twice = first.sha256.digest() == second.sha256.digest()
    is_proven_wrong = is_md5_certain or entry.sha256 is not None
    if is_same_twice and second.num_bytes == entry.num_bytes and not is_proven_wrong:
        # Encrypting stores give tags that look like an MD5 and are none.
        LOG.warning("lakefs: %s: the store's tag is no MD5; read twice, equal", entry.path)
        return digest
    partial.unlink(missing_ok=True)
    raise RunError(
        message=f"{entry.path} has {second.num_bytes} bytes with MD5 {second.md5.hexdigest()}; "
        f"its commit records {entry.num_bytes} bytes with {entry.checksum}"
        + (f" and SHA-256 {entry.sha256}, not {digest}" if entry.sha256 else ""),
        where=entry.address,
        hint="the object in the server's store is damaged, or the connection changes what it "
        "carries; run again, and if it stays restore the object",
    )


def _receive(
    entry: RemoteObject,
    partial: Path,
    received: Received,
    open_at: OpenAt,
    stopped: threading.Event,
) -> None:
    """Fill `partial` up to the object's size, going on where a lost connection left it."""
    retries, attempt = lakefs_client.RETRIES, 1
    with partial.open("ab+") as file:
        _read_again(file, received)
        while received.num_bytes < entry.num_bytes:
            before = received.num_bytes
            try:
                _append(entry, file, received, open_at, stopped)
                if received.num_bytes < entry.num_bytes:
                    break  # the answer was complete: the object is shorter than its commit says
            except list_lakefs_errors() as err:
                attempt = 1 if received.num_bytes > before else attempt + 1
                if not is_transient(err) or attempt > retries.attempts:
                    raise
                stopped.wait(retries.wait_before(attempt, read_retry_after(err)))


def _read_again(file: IO[bytes], received: Received) -> None:
    """Count the bytes that an earlier attempt left."""
    file.seek(0)
    while piece := file.read(CHUNK_BYTES):
        received.add(piece)


def _append(
    entry: RemoteObject,
    file: IO[bytes],
    received: Received,
    open_at: OpenAt,
    stopped: threading.Event,
) -> None:
    """Append what one connection brings; `received` grows even when it is lost on the way."""
    response = open_at(entry, received.num_bytes)
    is_complete = False
    try:
        if received.num_bytes and not _continues(response, received.num_bytes):
            file.truncate(0)  # the server sends everything again
            received.start_again()
        for piece in iter_pieces(response):
            if stopped.is_set():
                raise DownloadStoppedError
            with AT_WORK:
                file.write(piece)
                received.add(piece)
        is_complete = True
    finally:
        _release(response, is_complete)


def _continues(response: Any, offset: int) -> bool:
    """Tell whether an answer begins at the offset that was asked for."""
    content_range = str(response.headers.get("Content-Range", ""))
    return bool(response.status == 206) and content_range.startswith(f"bytes {offset}-")


def _release(response: Any, is_complete: bool) -> None:
    """Give the connection back for the next object, or drop it with bytes left in it."""
    if is_complete:
        response.release_conn()
    else:
        response.close()
