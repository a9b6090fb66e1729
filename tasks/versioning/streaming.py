"""The bytes of an answer, piece by piece, read into one buffer of the thread again and again."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

# With smaller pieces a download of many threads spends a fifth of its time on taking turns. New
# memory for each piece, as urllib3 gives it out, took a twelfth of the client's time.
BUFFER_BYTES = 1 << 20


class _Buffer(threading.local):
    def __init__(self) -> None:
        self.view = memoryview(bytearray(BUFFER_BYTES))


BUFFER = _Buffer()


def iter_pieces(response: BaseHTTPResponse) -> Iterator[memoryview]:
    """Yield the bytes of an answer's body as they were sent; each piece is gone with the next.

    Raises:
        urllib3.exceptions.HTTPError: The connection was lost before the body was whole.
    """
    buffer = BUFFER.view
    while num_bytes := _read_into(response, buffer):
        yield buffer[:num_bytes]


def _read_into(response: BaseHTTPResponse, buffer: memoryview) -> int:
    below: Any = getattr(response, "_fp", None)
    if not isinstance(below, http.client.HTTPResponse) or below.chunked:
        # Not `response.readinto`, which would decode what a store keeps compressed.
        piece = response.read(len(buffer), decode_content=False)
        buffer[: len(piece)] = piece
        return len(piece)
    from urllib3.exceptions import IncompleteRead, ProtocolError, SSLError

    try:
        num_bytes = below.readinto(buffer)
    except ssl.SSLError as err:
        raise SSLError(err) from err
    except (http.client.HTTPException, OSError) as err:
        raise ProtocolError(f"Connection broken: {err!r}", err) from err
    if not num_bytes and below.length:
        raise IncompleteRead(0, below.length)
    return num_bytes
