"""The fresh process of the acceptance test: begun early, asked once."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.errors import RunError
from tasks.publishing.acceptance import REFUSED, STDIN, AcceptanceReport, AcceptanceSpec
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


@contextmanager
def start_process(code: Path, log: Path) -> Iterator[subprocess.Popen[str]]:
    """Start the process; it imports what it needs while the artefact is still being built.

    Args:
        code: The code that is published with the model; the process imports nothing else of
            this project.
        log: Where its messages go.

    Yields:
        The process; it does not outlive the block.
    """
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
        yield process
    finally:
        process.kill()  # asked or not, there is nothing left for it to do
        process.communicate()


def ask_process(
    process: subprocess.Popen[str], spec: AcceptanceSpec, folder: Path
) -> AcceptanceReport:
    """Have the process test an artefact.

    Args:
        process: From `start_process`.
        spec: What is tested.
        folder: Where the spec is written for the process to read, and where its log lies.

    Raises:
        ArtefactRefused: With the checks that failed.
        RunError: The process could not test it.
    """
    file = folder / "spec.json"
    write_json(file, spec.model_dump(mode="json"))
    process.communicate(f"{file}\n")
    if process.returncode not in {0, REFUSED}:
        said = (folder / "acceptance.log").read_text(encoding="utf-8")
        raise RunError(
            where="publish",
            message=f"the acceptance test ended with code {process.returncode}: {said[-2000:]}",
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
