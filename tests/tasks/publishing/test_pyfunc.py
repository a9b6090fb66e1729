from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.publishing.acceptance import PICKLE_SUFFIXES
from tasks.records.writing import read_json, read_jsonl
from tasks.tracking.store import find_tracking_uri, load_pyfunc

from .conftest import NAME, Workshop

pytestmark = pytest.mark.filterwarnings("ignore:The PEFT config's")


@pytest.fixture
def champion(published_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Load the champion as any user of MLflow would."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", find_tracking_uri())
    before = list(sys.path)
    yield load_pyfunc().load_model(f"models:/{NAME}@champion")
    sys.path[:] = before


def test_the_champion_answers_as_evaluated(champion: Any, workshop: Workshop) -> None:
    rows = [
        {"messages": [{"role": m.role, "content": m.content} for m in example.prompt]}
        for example in workshop.examples
    ]
    evaluated = read_jsonl(workshop.home / "evaluate-1" / "predictions" / "test.jsonl")
    assert list(champion.predict(rows)) == [row["prediction"] for row in evaluated]
    short = champion.predict(rows[:1], params={"max_new_tokens": 1})
    assert len(short[0]) < len(evaluated[0]["prediction"])


def test_it_has_a_signature_and_an_example(champion: Any, workshop: Workshop) -> None:
    assert champion.metadata.signature.inputs.input_names() == ["messages", "tools"]
    assert champion.metadata.signature.params.params[0].name == "max_new_tokens"
    assert champion.metadata.run_id is not None
    [answer] = champion.predict(champion.input_example)
    assert isinstance(answer, str)


def test_it_holds_no_pickle_and_pins_its_requirements(registered_folder: Path) -> None:
    files = [path for path in registered_folder.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in PICKLE_SUFFIXES | {".pyc"}]
    requirements = (registered_folder / "requirements.txt").read_text().split()
    assert all("==" in line and "+" not in line for line in requirements)
    assert {line.split("==")[0] for line in requirements} >= {"torch", "transformers", "peft"}


def test_it_brings_its_own_code(registered_folder: Path) -> None:
    code = "import tasks.publishing.acceptance as a, sys; print(a.__file__, 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=registered_folder / "code",
        check=True,
        capture_output=True,
        text=True,
    )
    file, is_torch_imported = done.stdout.split()
    assert Path(file) == registered_folder / "code" / "tasks" / "publishing" / "acceptance.py"
    assert is_torch_imported == "False"


def test_the_base_is_named_not_copied(registered_folder: Path) -> None:
    model = registered_folder / "artifacts" / "model"
    assert (model / "adapter_model.safetensors").is_file()
    assert not (model / "model.safetensors").exists()
    assert read_json(model / "lineage.json")["base"]["name"].endswith("tiny-base")
