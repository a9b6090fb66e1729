from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.formatting.rendering.renderer import load_renderer
from tasks.publishing.acceptance import AcceptanceReport, AcceptanceSpec, examine_artefact, main
from tasks.publishing.probes import choose_probes, measure_logits
from tasks.records.digests import digest_files, list_files
from tasks.records.home import find_project
from tasks.records.writing import read_json, write_json
from tasks.training.models import load_trained

from .conftest import Workshop

pytestmark = pytest.mark.filterwarnings("ignore:The PEFT config's")
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def reference(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the evaluated model's logits."""
    from safetensors.torch import save_file

    folder = workshop.home / "train-1" / "model"
    model = load_trained(
        folder, workshop.base.location, method="lora", dtype="float32", device="cpu"
    )
    renderer = load_renderer(folder, None, "messages")
    probes = choose_probes(workshop.examples, find_predictions(workshop), 6)
    file = tmp_path_factory.mktemp("reference") / "logits.safetensors"
    save_file({"logits": measure_logits(model, [p.render(renderer) for p in probes])}, file)
    return file


def find_predictions(workshop: Workshop) -> Path:
    return workshop.home / "evaluate-1" / "predictions" / "test.jsonl"


@pytest.fixture
def spec(workshop: Workshop, registered_folder: Path, reference: Path, tmp_path: Path) -> Any:
    """Name a copy of what was published, which a test may damage."""
    shutil.copytree(registered_folder, tmp_path / "pyfunc")
    return AcceptanceSpec(
        pyfunc_folder=str(tmp_path / "pyfunc"),
        probes=tuple(choose_probes(workshop.examples, find_predictions(workshop), 6)),
        reference_logits=str(reference),
        max_logit_difference=1e-4,
        report=str(tmp_path / "report.json"),
    )


def find_artefact(spec: AcceptanceSpec) -> Path:
    return Path(spec.pyfunc_folder) / "artifacts" / "model"


def list_failed(report: AcceptanceReport) -> set[str]:
    assert report.passed == all(check.passed for check in report.checks)
    return {check.name for check in report.checks if not check.passed}


def rewrite_weights(spec: AcceptanceSpec, change: Callable[[str, Any], Any]) -> None:
    """Change the weights and make the digests fit, as a wrong export would."""
    from safetensors.torch import load_file, save_file

    artefact = find_artefact(spec)
    weights = {name: change(name, t) for name, t in load_file(artefact / WEIGHTS).items()}
    save_file(weights, artefact / WEIGHTS, metadata={"format": "pt"})
    redigest(artefact)


def redigest(artefact: Path) -> None:
    names = [name for name in list_files(artefact) if name != "digests.json"]
    write_json(artefact / "digests.json", digest_files(artefact, names))


def test_what_was_published_passes(spec: AcceptanceSpec, tmp_path: Path) -> None:
    write_json(tmp_path / "spec.json", spec.model_dump(mode="json"))
    assert main([str(tmp_path / "spec.json")]) == 0
    report = AcceptanceReport.model_validate(read_json(tmp_path / "report.json"))
    assert list_failed(report) == set()
    assert report.max_logit_difference is not None
    assert report.max_logit_difference < 1e-6


def test_a_changed_byte_fails(spec: AcceptanceSpec, tmp_path: Path) -> None:
    (find_artefact(spec) / "README.md").write_text("better than it is")
    assert list_failed(examine_artefact(spec)) == {"digests"}


def test_pickled_weights_fail(spec: AcceptanceSpec) -> None:
    (find_artefact(spec) / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    redigest(find_artefact(spec))
    assert list_failed(examine_artefact(spec)) == {"no_pickle"}


def test_an_adapter_that_does_nothing_fails(spec: AcceptanceSpec) -> None:
    rewrite_weights(spec, lambda name, tensor: tensor * 0 if "lora_B" in name else tensor)
    assert list_failed(examine_artefact(spec)) == {"weights"}


def test_weights_that_are_no_numbers_fail(spec: AcceptanceSpec) -> None:
    rewrite_weights(spec, lambda _, tensor: tensor * float("nan"))
    assert list_failed(examine_artefact(spec)) == {"weights"}


def test_other_weights_fail(spec: AcceptanceSpec) -> None:
    rewrite_weights(spec, lambda _, tensor: tensor * -20)
    assert list_failed(examine_artefact(spec)) >= {"logits", "answers"}


def test_slightly_other_weights_fail(spec: AcceptanceSpec) -> None:
    rewrite_weights(spec, lambda _, tensor: tensor * 1.01)
    assert "logits" in list_failed(examine_artefact(spec))


def test_other_answers_than_the_evaluated_fail(spec: AcceptanceSpec) -> None:
    first, *rest = spec.probes
    changed = first.model_copy(update={"prediction": f"{first.prediction}!"})
    spec = spec.model_copy(update={"probes": (changed, *rest)})
    assert list_failed(examine_artefact(spec)) == {"answers"}


def test_another_template_fails(spec: AcceptanceSpec) -> None:
    template = find_artefact(spec) / "chat_template.jinja"
    template.write_text(template.read_text() + "\n")
    redigest(find_artefact(spec))
    assert list_failed(examine_artefact(spec)) == {"loads"}


def test_another_base_fails(
    spec: AcceptanceSpec, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other-base"
    shutil.copytree(workshop.base.location, other)
    content = bytearray((other / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (other / "model.safetensors").write_bytes(bytes(content))
    monkeypatch.setenv("HONE_BASE_MODEL", str(other))
    assert list_failed(examine_artefact(spec)) == {"loads"}


def test_the_fresh_process_has_no_network() -> None:
    code = """
import socket
from tasks.publishing.acceptance import refuse_network
refuse_network()
for place in ("127.0.0.1", "localhost"):
    try:
        socket.create_connection((place, 9))
    except OSError as err:
        print(err)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=find_project(), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["the acceptance test has no network"] * 2
