"""The fresh process of the acceptance test: begun early, asked once."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from configs.errors import RunError
from tasks.publishing.acceptance import REFUSED, STDIN, AcceptanceReport, AcceptanceSpec
from tasks.publishing.pyfunc_folder import collect_code
from tasks.records.waiting_process import WaitingProcess, start_waiting
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

    waiting: WaitingProcess
    code: Path
    """The code that is published with the model; the process imports nothing else of hone."""


@contextmanager
def start_process(registered: Path | None = None) -> Iterator[FreshProcess]:
    """Start the process; it imports what it needs while its caller has other work.

    Args:
        registered: The code that a version was published with; by default that of this clone.

    Yields:
        The process; it does not outlive the block.
    """
    with tempfile.TemporaryDirectory(prefix="hone-acceptance-") as folder:
        code = registered or Path(folder) / "code"
        if registered is None:
            collect_code(code)
        module = "tasks.publishing.acceptance"
        with start_waiting(module, STDIN, folder=code, settings=SETTINGS) as waiting:
            yield FreshProcess(waiting, code)


@contextmanager
def use_process(prepared: FreshProcess | None) -> Iterator[FreshProcess]:
    """Give the prepared process, or a new one where there is none that can still be asked."""
    if prepared and prepared.waiting.is_waiting:
        yield prepared
        return
    with start_process() as fresh:
        yield fresh


def ask_process(fresh: FreshProcess, spec: AcceptanceSpec, folder: Path) -> AcceptanceReport:
    """Have the process test an artefact.

    Args:
        fresh: From `start_process`.
        spec: What is tested.
        folder: Where the spec is written for the process to read.

    Raises:
        ArtefactRefused: With the checks that failed.
        RunError: The process could not test it.
    """
    file = folder / "spec.json"
    write_json(file, spec.model_dump(mode="json"))
    fresh.waiting.ask(str(file))
    code = fresh.waiting.process.wait()
    if code not in {0, REFUSED}:
        raise RunError(
            where="publish",
            message=f"the test ended with code {code}: {fresh.waiting.read_log()}",
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
