"""A process that is started early, imports what it needs, and waits for one line that asks it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class WaitingProcess:
    """A process that answers once."""

    process: subprocess.Popen[str]
    log: Path
    """What the process says; there as long as the process."""

    @property
    def is_waiting(self) -> bool:
        """Whether it can be asked."""
        return self.process.poll() is None and not self.is_asked

    @property
    def is_asked(self) -> bool:
        """Whether it has been given its line."""
        assert self.process.stdin, "it is started with a pipe"
        return self.process.stdin.closed

    def ask(self, line: str) -> None:
        """Give it its line, without waiting for what it does with it."""
        assert self.process.stdin, "it is started with a pipe"
        with suppress(BrokenPipeError):  # it has ended; its code and its log say why
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.close()

    def read_log(self, characters: int = 2000) -> str:
        """Return the last words of the process."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-characters:]


@contextmanager
def start_waiting(
    module: str,
    *arguments: str,
    folder: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[WaitingProcess]:
    """Start a module as a process; it does not outlive the block.

    Where this process dies, the other one finds no line and ends.

    Args:
        module: Reads one line from its standard input, and ends where there is none.
        arguments: Its arguments.
        folder: Its current folder, which comes first among the places of its imports.
        settings: What its environment has beside ours.
    """
    with tempfile.TemporaryDirectory(prefix="hone-process-") as temporary:
        log = Path(temporary) / "log"
        with log.open("w", encoding="utf-8") as messages:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=folder,
                env=os.environ | (settings or {}),
                stdin=subprocess.PIPE,
                stdout=messages,
                stderr=messages,
                text=True,
            )
        try:
            yield WaitingProcess(process, log)
        finally:
            process.kill()  # asked or not, there is nothing left for it to do
            process.communicate()
