"""The body of an upload: raw bytes, or one file of a multipart form."""

from __future__ import annotations

import io
import re
from email.message import Message
from typing import IO


def read_upload(stream: IO[bytes], headers: Message) -> tuple[IO[bytes], int, str]:
    """Return the uploaded bytes as a stream, their number, and their content type."""
    num_bytes = int(headers.get("Content-Length") or 0)
    kind = headers.get("Content-Type", "application/octet-stream")
    if headers.get("Transfer-Encoding", "").lower() == "chunked":
        content = read_chunks(stream)
        stream, num_bytes = io.BytesIO(content), len(content)
    boundary = re.search(r"multipart/form-data;.*boundary=\"?([^\";]+)", kind)
    if not boundary:
        return stream, num_bytes, kind
    content = stream.read(num_bytes)
    _, part, *_ = content.split(b"--" + boundary[1].encode())
    _, _, body = part.partition(b"\r\n\r\n")
    body = body.removesuffix(b"\r\n")
    return io.BytesIO(body), len(body), "application/octet-stream"


def read_chunks(stream: IO[bytes]) -> bytes:
    """Return a body that came in chunks, each with its length in front."""
    parts = []
    while size := int(stream.readline().split(b";")[0], 16):
        parts.append(stream.read(size))
        stream.readline()
    stream.readline()
    return b"".join(parts)
