"""The acceptance test: a fresh process loads what would be published and compares it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import HoneError
from tasks.publishing.probes import Probe, measure_logits
from tasks.records.digests import digest_file, list_files
from tasks.records.handles import Record
from tasks.records.imports import NOT_NEEDED, leave_out, pause_collection
from tasks.records.writing import read_json, write_json
from tasks.tracking.store import load_pyfunc

if TYPE_CHECKING:
    from tasks.evaluation.generation import Answer
    from tasks.publishing.loading import Published

STDIN = "-"
REFUSED = 2
DIGESTS = "digests.json"
LOGITS = "logits"
PROBE_LOGITS = "logits.safetensors"
PROBE_ANSWERS = "probes.json"
NUM_SERVED = 4  # answers through MLflow's own way in; the model below it has answered all probes
PICKLE_SUFFIXES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"}
# In 16 bits another batch shape rounds another way, and two nearly equal tokens change places.
LEAST_SAME_FRACTION = {"float32": 1.0, "bfloat16": 0.9, "float16": 0.9}


class AcceptanceSpec(Record):
    """What is tested, and against what."""

    pyfunc_folder: str
    """The MLflow model; the artefact is in its `artifacts/model`."""
    probes: tuple[Probe, ...]
    reference_logits: str
    """A safetensors file with the evaluated model's `logits`, a row for each probe."""
    max_logit_difference: float
    report: str
    """Where the report is written."""


def write_probes(folder: Path, spec: AcceptanceSpec) -> None:
    """Keep what a version was compared with, so that it can be compared again at any time."""
    write_json(folder / PROBE_ANSWERS, spec.model_dump(mode="json"))


def read_probes(folder: Path, pyfunc_folder: Path, report: Path) -> AcceptanceSpec:
    """Return the test of a version, to be made again.

    Args:
        folder: What `write_probes` and the logits were written to.
        pyfunc_folder: The MLflow model, as it lies now.
        report: Where the report goes.
    """
    spec = AcceptanceSpec.model_validate(read_json(folder / PROBE_ANSWERS))
    places = {
        "pyfunc_folder": str(pyfunc_folder),
        "reference_logits": str(folder / PROBE_LOGITS),
        "report": str(report),
    }
    return spec.model_copy(update=places)


class AcceptanceCheck(Record):
    """One thing that must hold."""

    name: str
    passed: bool
    found: str


class AcceptanceReport(Record):
    """What the fresh process found."""

    passed: bool
    checks: tuple[AcceptanceCheck, ...]
    max_logit_difference: float | None
    tolerance: float
    num_probes: int
    seconds: float


def main(arguments: Sequence[str]) -> int:
    """Test what `SPEC.json` names, and write the report.

    With `-` the name is read from standard input, after all imports: whoever started the process
    can do other things meanwhile. No name means that there is nothing to test.

    Returns:
        0 when everything holds, 2 when something does not.
    """
    import_libraries()
    name = sys.stdin.readline().strip() if arguments[0] == STDIN else arguments[0]
    if not name:
        return 0
    spec = AcceptanceSpec.model_validate(read_json(Path(name)))
    report = examine_artefact(spec)
    write_json(Path(spec.report), report.model_dump(mode="json"))
    return 0 if report.passed else REFUSED


def refuse_network() -> None:
    """Let no connection be opened from here on: what is published must load without one."""

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        is_connection = event == "socket.connect" and isinstance(arguments[1], tuple)
        if is_connection or event == "socket.getaddrinfo":
            raise OSError("the acceptance test has no network")

    sys.addaudithook(refuse)


def import_libraries() -> None:
    """Import what loading and answering need."""
    with pause_collection(), leave_out(*NOT_NEEDED):
        import tasks.evaluation.generation
        import tasks.training.models  # noqa: F401

        load_pyfunc()


def examine_artefact(spec: AcceptanceSpec) -> AcceptanceReport:
    """Run all checks; those on the loaded model only when the files are right."""
    begin = time.monotonic()
    artefact = Path(spec.pyfunc_folder) / "artifacts" / "model"
    checks = [check_digests(artefact), check_no_pickle(Path(spec.pyfunc_folder))]
    checks += [check_weights(artefact)]
    difference = None
    if all(check.passed for check in checks):
        found, difference = _check_loaded(spec)
        checks += found
    return AcceptanceReport(
        passed=all(check.passed for check in checks),
        checks=tuple(checks),
        max_logit_difference=difference,
        tolerance=spec.max_logit_difference,
        num_probes=len(spec.probes),
        seconds=round(time.monotonic() - begin, 2),
    )


def check_digests(artefact: Path) -> AcceptanceCheck:
    """Check that each file is, byte for byte, the one that was digested."""
    expected = read_json(artefact / DIGESTS)
    names = set(list_files(artefact)) - {DIGESTS}
    wrong = sorted(names ^ set(expected))
    wrong += [n for n in sorted(names & set(expected)) if digest_file(artefact / n) != expected[n]]
    found = f"changed: {', '.join(wrong)}" if wrong else f"{len(names)} files"
    return AcceptanceCheck(name="digests", passed=not wrong, found=found)


def check_no_pickle(folder: Path) -> AcceptanceCheck:
    """Check that nothing in the folder could run code when it is read as weights."""
    pickles = [name for name in list_files(folder) if Path(name).suffix in PICKLE_SUFFIXES]
    return AcceptanceCheck(
        name="no_pickle", passed=not pickles, found=", ".join(pickles) or "safetensors only"
    )


def check_weights(artefact: Path) -> AcceptanceCheck:
    """Check that all published weights are finite, and that they do something.

    A LoRA whose B matrices are all zero leaves the base model as it was.
    """
    from safetensors import safe_open

    num_tensors, not_finite, num_active = 0, [], 0
    for file in sorted(artefact.glob("*.safetensors")):
        with safe_open(str(file), framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - not a mapping
                tensor = weights.get_tensor(name)
                num_tensors += 1
                if not tensor.isfinite().all():
                    not_finite.append(name)
                elif "lora_A" not in name and tensor.any():
                    num_active += 1
    found = f"{num_tensors} tensors, {num_active} of them beyond lora_A not zero"
    if not_finite:
        found = f"{len(not_finite)} tensors are not finite, such as {not_finite[0]}"
    return AcceptanceCheck(name="weights", passed=num_active > 0 and not not_finite, found=found)


def _check_loaded(spec: AcceptanceSpec) -> tuple[list[AcceptanceCheck], float | None]:
    try:
        registered = load_pyfunc().load_model(spec.pyfunc_folder)
    except HoneError as err:
        return [AcceptanceCheck(name="loads", passed=False, found=str(err))], None
    published = registered.unwrap_python_model().published
    difference = compare_logits(published, spec)
    rows = [probe.model_input for probe in spec.probes]
    answers = published.answer(rows)
    served = list(registered.predict(rows[:NUM_SERVED]))
    same = sum(a.text == text for a, text in zip(answers, served, strict=False))
    return [
        AcceptanceCheck(name="loads", passed=True, found=f"template {published.renderer.digest}"),
        AcceptanceCheck(
            name="logits",
            passed=difference <= spec.max_logit_difference,
            found=f"largest difference {difference:.3g}, allowed {spec.max_logit_difference:g}",
        ),
        check_answers(answers, spec.probes, published.settings.dtype),
        check_stops(answers, spec.probes),
        AcceptanceCheck(
            name="served",
            passed=same == len(served),
            found=f"{same} of {len(served)} answers through MLflow are the same",
        ),
    ], difference


def compare_logits(published: Published, spec: AcceptanceSpec) -> float:
    """Return the largest difference of logits to the evaluated model, over all probes."""
    from safetensors.torch import load_file

    reference = load_file(spec.reference_logits)[LOGITS]
    prompts = [probe.render(published.renderer) for probe in spec.probes]
    found = measure_logits(published.model, prompts)
    difference: Any = (found - reference).abs().max()
    return float(difference) if found.isfinite().all() else float("inf")


def check_answers(
    answers: Sequence[Answer], probes: Sequence[Probe], dtype: str
) -> AcceptanceCheck:
    """Check that the answers are those that were evaluated; plain text has none."""
    pairs = [(a.text, p.prediction) for a, p in zip(answers, probes, strict=True)]
    evaluated = [(text, expected) for text, expected in pairs if expected is not None]
    same = sum(text == expected for text, expected in evaluated)
    least = LEAST_SAME_FRACTION[dtype] * len(evaluated)
    return AcceptanceCheck(
        name="answers",
        passed=same >= least,
        found=f"{same} of {len(evaluated)} as evaluated, at least {least:g} needed in {dtype}",
    )


def check_stops(answers: Sequence[Answer], probes: Sequence[Probe]) -> AcceptanceCheck:
    """Check that answers end by themselves, as they did in the evaluation."""
    is_conversation = any(probe.prediction is not None for probe in probes)
    ended, expected = sum(a.ended for a in answers), sum(p.ended for p in probes)
    return AcceptanceCheck(
        name="stops",
        passed=not is_conversation or (ended > 0 and ended >= 0.9 * expected),
        found=f"{ended} of {len(answers)} answers end by themselves, {expected} in the evaluation",
    )


if __name__ == "__main__":
    refuse_network()
    sys.exit(main(sys.argv[1:]))
