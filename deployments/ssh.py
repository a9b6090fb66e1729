"""A host that is reached over SSH: commands on it, files to it and from it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.errors import RequestError, RunError

UNREACHABLE = 255  # of ssh itself, as opposed to the command's own code
OPTIONS = (
    "-o", "BatchMode=yes",  # never ask: nobody may be there to answer
    "-o", "ConnectTimeout=20",
    "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4",
)  # fmt: skip


@dataclass(frozen=True)
class Host:
    """Where to go, and the folder there that is ours.

    Attributes:
        user: Who logs in.
        name: Its name or address.
        folder: Its folder for hone: relative to the home there, or absolute.
        options: More for ssh, such as `-p 2222 -i key`.
        python: An environment there that has what hone needs; empty: hone installs its own.
    """

    user: str
    name: str
    folder: str
    options: tuple[str, ...] = ()
    python: str = ""

    @property
    def command(self) -> list[str]:
        """What a command's words are appended to."""
        if not shutil.which("ssh"):
            raise RequestError(message="no `ssh` on the PATH", hint="install OpenSSH's client")
        return ["ssh", *OPTIONS, *self.options, f"{self.user}@{self.name}"]

    def run(self, script: str, *, is_shown: bool = True) -> int:
        """Run a shell script in our folder; return its exit code.

        Raises:
            RunError: The host is not reached, or the connection is cut.
        """
        output = None if is_shown else subprocess.DEVNULL
        done = subprocess.run(
            [*self.command, self._enter(script)], stdin=subprocess.DEVNULL, stdout=output,
            check=False,
        )  # fmt: skip
        if done.returncode == UNREACHABLE:
            raise self.explain_loss()
        return done.returncode

    def send(self, files: Sequence[str], root: Path, script: str) -> None:
        """Pack files and unpack them there by a script that reads a tar archive.

        Raises:
            RunError: The host is not reached, or does not take them.
        """
        packer = subprocess.Popen(
            ["tar", "--create", "--gzip", "--null", "--files-from", "-", "--file", "-"],
            cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        taker = subprocess.Popen([*self.command, self._enter(script)], stdin=packer.stdout)
        assert packer.stdin is not None
        assert packer.stdout is not None
        packer.stdout.close()
        packer.stdin.write("\0".join(files).encode())
        packer.stdin.close()
        codes = taker.wait(), packer.wait()
        if codes[0] == UNREACHABLE:
            raise self.explain_loss()
        if any(codes):
            raise RunError(message=f"the sources did not arrive (codes {codes})", where=self.name)

    def fetch(self, script: str, folder: Path) -> None:
        """Unpack below a folder what a script there packs; nothing is written outside of it.

        Raises:
            RunError: The host is not reached, or has nothing to give.
        """
        packer = subprocess.Popen(
            [*self.command, self._enter(script)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        assert packer.stdout is not None
        problem = ""
        try:
            with tarfile.open(fileobj=packer.stdout, mode="r|gz") as archive:
                archive.extractall(folder, filter="data")
        except tarfile.TarError as err:
            problem = str(err)
        packer.stdout.close()
        code = packer.wait()
        if code == UNREACHABLE:
            raise self.explain_loss()
        if code or problem:
            raise RunError(message=f"nothing was fetched (code {code}) {problem}", where=self.name)

    def _enter(self, script: str) -> str:
        folder = shlex.quote(self.folder)
        return f"mkdir -p -- {folder} && cd -- {folder} && {{ {script}\n}}"

    def explain_loss(self) -> RunError:
        """Return the error for a host that is not reached."""
        return RunError(
            message=f"no connection to {self.user}@{self.name}, or it was cut",
            where="REMOTE_HOST",
            hint="what runs there goes on; call this again to see it. If it never worked: "
            f"`ssh {self.user}@{self.name}` must work without a password",
        )
