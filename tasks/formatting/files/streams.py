"""Files of rows as streams of UTF-8 bytes: compression, byte-order marks, UTF-16, long lines."""

from __future__ import annotations

import codecs
import errno
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from configs.errors import RequestError
from tasks.records.folders import refuse_file

COMPRESSIONS = (".gz", ".zst")
# What is longer is no row but a file without line ends, which must not fill the memory.
MAX_LINE_BYTES = 64 << 20
HEAD_BYTES = 1 << 16
BUFFER_BYTES = 1 << 18

COMPRESSED_HEADS = {b"\x1f\x8b\x08": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
FOREIGN_HEADS = {
    b"%PDF-": "a PDF document", b"PK\x03\x04": "a ZIP archive, as Office documents are",
    b"\xd0\xcf\x11\xe0": "an Office document", b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
}  # fmt: skip
UTF_8_MARK = codecs.BOM_UTF8
UTF_16_MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
# Before UTF-16: the little-endian one begins with that of UTF-16.
UTF_32_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
SAVE_AS_UTF_8 = "save the file as UTF-8"


def strip_compression(name: str) -> str:
    """Return a file's name without the suffixes of its compression, in lower case.

    >>> strip_compression("rows.JSONL.gz")
    'rows.jsonl'
    """
    plain = PurePosixPath(name).name.lower()
    while plain.endswith(COMPRESSIONS):
        plain = plain.rsplit(".", 1)[0]
    return plain


@contextmanager
def open_plain(path: Path, name: str) -> Iterator[IO[bytes]]:
    """Open a file and undo the compressions that its name tells, the outermost first.

    Raises:
        RequestError: The file is missing or damaged, also while it is read in the block.
    """
    try:
        with ExitStack() as layers:
            content: Any = layers.enter_context(path.open("rb", buffering=BUFFER_BYTES))
            for suffix in _list_compressions(name):
                content = layers.enter_context(_decompress(content, suffix))
            yield content
    except FileNotFoundError as err:
        raise RequestError(where=name, message="there is no such file") from err
    except (EOFError, zlib.error, OSError) as err:
        # An error of the file system has a number, one of a damaged stream has none.
        if isinstance(err, OSError) and err.errno in {errno.EACCES, errno.EPERM, errno.ELOOP}:
            raise refuse_file(name, err) from err
        if isinstance(err, OSError) and err.errno is not None:
            raise
        kind = "gzip" if name.lower().endswith(".gz") else "zstd"
        raise RequestError(
            where=name, message=f"damaged {kind} file ({err})", hint="compress it again"
        ) from err


@contextmanager
def open_text(path: Path, name: str) -> Iterator[IO[bytes]]:
    """Open a text file as UTF-8 bytes behind its byte-order mark; UTF-16 with a mark is recoded.

    Raises:
        RequestError: It is missing, damaged, compressed otherwise than its name says, or in an
            encoding that cannot be told.
    """
    with open_plain(path, name) as content:
        head = content.read(HEAD_BYTES)
    _check_head(head, name)
    encoding = UTF_16_MARKS.get(head[:2])
    with open_plain(path, name) as content:
        if encoding:
            content.read(2)
            with io.BufferedReader(_Recoder(content, encoding, name), BUFFER_BYTES) as recoded:
                yield cast("IO[bytes]", recoded)
        else:
            content.read(len(UTF_8_MARK) if head.startswith(UTF_8_MARK) else 0)
            yield content


def split_lines(content: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a stream with their ends.

    Of a line above MAX_LINE_BYTES come MAX_LINE_BYTES + 1 bytes; the rest is passed over, so that
    its length tells whoever reads it that it is no whole line.
    """
    while line := content.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            end = line
            while end and not end.endswith(b"\n"):
                end = content.readline(BUFFER_BYTES)
        yield line


def _list_compressions(name: str) -> Iterator[str]:
    suffixes = PurePosixPath(name.lower()).suffixes
    while suffixes and suffixes[-1] in COMPRESSIONS:
        yield suffixes.pop()


def _decompress(content: Any, suffix: str) -> io.BufferedReader:
    if suffix == ".gz":
        return io.BufferedReader(cast("Any", gzip.GzipFile(fileobj=content)), BUFFER_BYTES)
    import pyarrow as pa

    # Unlike the zstandard package's reader, it does not take a stream that was cut off for whole.
    return io.BufferedReader(pa.CompressedInputStream(content, "zstd"), BUFFER_BYTES)


def _check_head(head: bytes, name: str) -> None:
    for magic, kind in COMPRESSED_HEADS.items():
        if head.startswith(magic):
            raise RequestError(
                where=name,
                message=f"its content is compressed with {kind}, which its name does not say",
                hint="decompress it, or end its name with .gz or .zst for each compression",
            )
    for magic, kind in FOREIGN_HEADS.items():
        if head.startswith(magic):
            raise RequestError(
                where=name,
                message=f"its content is {kind}, which its name does not say",
                hint="name the file by what it is, or save its rows as JSON lines or CSV",
            )
    if head.startswith(UTF_32_MARKS):
        raise RequestError(where=name, message="UTF-32 is not read", hint=SAVE_AS_UTF_8)
    # Text in UTF-16 without a mark: half of the bytes of its first signs are NUL.
    if len(head) >= 4 and head[:4:2] != head[1:4:2] and b"\0\0" in (head[:4:2], head[1:4:2]):
        raise RequestError(
            where=name,
            message="this looks like UTF-16 without a byte-order mark",
            allowed="UTF-8, or UTF-16 with a byte-order mark",
            hint=SAVE_AS_UTF_8,
        )


class _Recoder(io.RawIOBase):
    """UTF-16 as UTF-8; a lone surrogate comes out as bytes that are no valid UTF-8."""

    def __init__(self, content: IO[bytes], encoding: str, name: str) -> None:
        self._content = content
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._name = name
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        chunk = b"."
        while not self._ready and chunk:
            chunk = self._content.read(HEAD_BYTES)
            self._ready = self._decode(chunk).encode("utf-8", "surrogatepass")
        size = min(len(view), len(self._ready))
        view[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def _decode(self, chunk: bytes) -> str:
        try:
            return self._decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as err:
            raise RequestError(
                where=self._name, message=f"broken UTF-16 ({err.reason})", hint=SAVE_AS_UTF_8
            ) from err
