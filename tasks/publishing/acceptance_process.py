"""The fresh process of the acceptance test: begun early, asked once."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from configs.errors import RunError
from tasks.publishing.acceptance import REFUSED, STDIN, AcceptanceReport, AcceptanceSpec
from tasks.publishing.pyfunc_folder import collect_code
from tasks.records.writing import read_json, write_json

LOG = logging.getLogger("hone")
SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    # What is tested stays, byte for byte, what is uploaded.
    "PYTHONDONTWRITEBYTECODE": "1",
}


class ArtefactRefused(RunError):  # noqa: N818 - what happened, not a fault of the program
    """The freshly loaded artefact is not the model that was evaluated."""

    code = "artefact_refused"


@dataclass(frozen=True)
class FreshProcess:
    """A process that waits to be asked, with the code that it imports."""

    process: subprocess.Popen[str]
    code: Path
    """The code that is published with the model; the process imports nothing else of hone."""
    log: Path
    """What the process says."""

    @property
    def is_waiting(self) -> bool:
        """Whether it can be asked; it answers once."""
        return self.process.poll() is None


@contextmanager
def start_process(registered: Path | None = None) -> Iterator[FreshProcess]:
    """Start the process; it imports what it needs while its caller has other work.

    Args:
        registered: The code that a version was published with; by default that of this clone.

    Yields:
        The process; it does not outlive the block.
    """
    with tempfile.TemporaryDirectory(prefix="hone-acceptance-") as folder:
        code, log = registered or Path(folder) / "code", Path(folder) / "log"
        if registered is None:
            collect_code(code)
        with log.open("w", encoding="utf-8") as messages:
            process = subprocess.Popen(
                [sys.executable, "-m", "tasks.publishing.acceptance", STDIN],
                cwd=code,  # the current folder comes first among the places of imports
                env=os.environ | SETTINGS,
                stdin=subprocess.PIPE,
                stdout=messages,
                stderr=messages,
                text=True,
            )
        try:
            yield FreshProcess(process, code, log)
        finally:
            process.kill()  # asked or not, there is nothing left for it to do
            process.communicate()


@contextmanager
def use_process(prepared: FreshProcess | None) -> Iterator[FreshProcess]:
    """Give the prepared process, or a new one where there is none that can still be asked."""
    if prepared and prepared.is_waiting:
        yield prepared
        return
    with start_process() as fresh:
        yield fresh


def ask_process(
    fresh: FreshProcess,
    spec: AcceptanceSpec,
    folder: Path,
    meanwhile: Callable[[], object] | None = None,
) -> AcceptanceReport:
    """Have the process test an artefact.

    Args:
        fresh: From `start_process`.
        spec: What is tested.
        folder: Where the spec is written for the process to read.
        meanwhile: Done here while the process is at it.

    Raises:
        ArtefactRefused: With the checks that failed.
        RunError: The process could not test it.
    """
    file = folder / "spec.json"
    write_json(file, spec.model_dump(mode="json"))
    assert fresh.process.stdin, "it is started with a pipe"
    with suppress(BrokenPipeError):  # it has ended; its code and its log say why
        fresh.process.stdin.write(f"{file}\n")
        fresh.process.stdin.close()
    if meanwhile:
        meanwhile()
    fresh.process.wait()
    if fresh.process.returncode not in {0, REFUSED}:
        said = fresh.log.read_text(encoding="utf-8")
        raise RunError(
            where="publish",
            message=f"the test ended with code {fresh.process.returncode}: {said[-2000:]}",
            hint="nothing was published; run again",
        )
    report = AcceptanceReport.model_validate(read_json(Path(spec.report)))
    LOG.info(
        "publish: acceptance %s in %.1f s: %s", "passed" if report.passed else "failed",
        report.seconds, "; ".join(f"{check.name}: {check.found}" for check in report.checks),
    )  # fmt: skip
    if not report.passed:
        raise ArtefactRefused(
            where="publish",
            message="the freshly loaded artefact is not the model that was evaluated",
            hint="nothing was published",
            problems=tuple(f"{c.name}: {c.found}" for c in report.checks if not c.passed),
        )
    return report
