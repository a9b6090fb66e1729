"""Rows in JSON that is not one object a line: an array, or objects over several lines."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, Any

from configs.errors import RequestError
from tasks.formatting.files import streams
from tasks.formatting.files.json_rows import DECODER, ReadProblem, check_text, describe_error

CHUNK_BYTES = 1 << 20
WHITESPACE = re.compile(r"[ \t\r\n]*")
# The longest text whose beginning is no JSON although it is: -Infinity, or two escapes of a pair.
LONGEST_WORD = len(r"\ud83d\ude00")


def read_json_document(
    content: IO[bytes], name: str
) -> Iterator[tuple[int, dict[str, Any] | ReadProblem]]:
    """Yield the objects of an array, or objects one after the other, however they are wrapped.

    The document is never in memory as a whole. After a broken object in a series, reading goes on
    at the next line that begins with `{`.

    Args:
        content: UTF-8 text.
        name: The file's name, for errors.

    Yields:
        The line an object begins on, from 1, and the object.

    Raises:
        RequestError: An array is broken: where its next row begins cannot be known.
    """
    window = _Window(content)
    window.skip_space()
    if window.take("["):
        return _read_array(window, name)
    return _read_series(window)


class _Window:
    """A stretch of a text that moves over it; `line` is that of its first unread character."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text = ""
        self._start = 0
        self._num_dropped = 0  # characters of the window's first line that are not in it any more
        self.line = 1

    def take(self, sign: str) -> bool:
        """Pass over a character if it is the next one, and tell whether it was."""
        is_next = self.is_next(sign)
        self._start += is_next
        return is_next

    def is_next(self, sign: str) -> bool:
        return self._text.startswith(sign, self._start)

    def is_at_end(self) -> bool:
        return self._start == len(self._text) and not self._refill()

    def skip_space(self) -> None:
        while True:
            found = WHITESPACE.match(self._text, self._start)
            assert found  # the pattern matches the empty string
            self._advance(found.end())
            if self._start < len(self._text) or not self._refill():
                return

    def skip_to_object(self) -> None:
        """Pass over the next character, and on to the next line that begins with `{`."""
        self._start += 1
        while (found := self._text.find("\n{", self._start - 1)) < 0:
            self._advance(len(self._text))
            if not self._refill(num_kept=1):
                return
        self._advance(found + 1)

    def decode(self) -> Any:
        """Return the next value, and pass over it.

        Raises:
            ValueError: It is broken, or longer than a line may be; nothing is passed over.
            RecursionError: It is nested too deeply.
        """
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._start)
            except json.JSONDecodeError as err:
                if self._is_certain(err) or not self._grow():
                    raise
            else:
                # Of a number more may follow, such as e+3.
                is_certain = isinstance(value, dict | list) or end + LONGEST_WORD < len(self._text)
                if is_certain or not self._grow():
                    self._advance(end)
                    return value

    def describe(self, err: Exception) -> ReadProblem:
        """Return the problem that `decode` raised."""
        if not isinstance(err, json.JSONDecodeError):
            return describe_error(err)
        line = self.line + self._text.count("\n", self._start, err.pos)
        line_start = self._text.rfind("\n", 0, err.pos) + 1
        column = err.pos - line_start + 1 + (0 if line_start else self._num_dropped)
        return describe_error(err, f"line {line}, column {column}")

    def _is_certain(self, err: json.JSONDecodeError) -> bool:
        """Return whether a value stays broken whatever text follows."""
        is_open = err.msg.startswith("Unterminated string")
        return not is_open and err.pos + LONGEST_WORD < len(self._text)

    def _grow(self) -> bool:
        if len(self._text) - self._start > streams.MAX_LINE_BYTES:
            limit = f"{streams.MAX_LINE_BYTES >> 20} MiB"
            raise ValueError(f"no end within {limit}; is a quote or bracket not closed?")
        return self._refill()

    def _advance(self, position: int) -> None:
        self.line += self._text.count("\n", self._start, position)
        self._start = position

    def _refill(self, num_kept: int = 0) -> bool:
        """Read as much again as is unread, at least a chunk; False when nothing is left."""
        drop = max(self._start - num_kept, 0)
        chunk = self._content.read(max(CHUNK_BYTES, len(self._text) - drop))
        added = self._decoder.decode(chunk, final=not chunk)
        if not chunk and not added:
            return False
        line_start = self._text.rfind("\n", 0, drop) + 1
        self._num_dropped = drop - line_start + (0 if line_start else self._num_dropped)
        self._text, self._start = self._text[drop:] + added, self._start - drop
        return True


def _read_series(window: _Window) -> Iterator[tuple[int, dict[str, Any] | ReadProblem]]:
    while not window.is_at_end():
        line = window.line
        try:
            row = window.decode()
        except (ValueError, RecursionError) as err:
            yield line, window.describe(err)
            window.skip_to_object()
        else:
            yield line, check_text(row)
        window.skip_space()


def _read_array(window: _Window, name: str) -> Iterator[tuple[int, dict[str, Any] | ReadProblem]]:
    window.skip_space()
    while not window.take("]"):
        line = window.line
        try:
            row = window.decode()
        except (ValueError, RecursionError) as err:
            raise _refuse_array(name, line, window.describe(err).detail) from err
        yield line, check_text(row)
        window.skip_space()
        line = window.line
        if window.take(","):
            window.skip_space()
        elif not window.is_next("]"):
            raise _refuse_array(name, line, "broken JSON: expected `,` or `]`")
    window.skip_space()
    if not window.is_at_end():
        raise _refuse_array(name, window.line, "more text after the array")


def _refuse_array(name: str, line: int, detail: str) -> RequestError:
    return RequestError(
        where=f"{name}:{line}",
        message=f"{detail}; in a JSON array the rows after it cannot be told apart",
        hint="mend it, or write one object a line (JSONL), where a broken row stays alone",
    )
