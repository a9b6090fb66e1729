"""An adapter that is merged before it is evaluated, and published as such."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.flows.conftest import RunFlow


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
def test_qlora_merged_into_the_dequantised_base_is_what_is_published(
    warm_home: Path, run_flow: RunFlow
) -> None:
    result = run_flow("model.method=qlora", "publish.merge=true", "training.max_steps=30")
    assert result.verdict == "better"
    assert result.publication is not None
    assert "merge" in result.seconds
    folder = warm_home / result.publication.path
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= names
    assert "adapter_config.json" not in names
    lineage = json.loads((folder / "lineage.json").read_text())
    assert lineage["method"] == "full"
    card = (folder / "README.md").read_text()
    assert "An adapter (qlora), merged into the dequantised weights of" in card
    assert "bitsandbytes" not in card.lower()
    run = warm_home / (result.run_dir or "")
    assert (run / "model" / "model.safetensors").is_file()
    assert (run / "adapter" / "adapter_model.safetensors").is_file()
    manifest = json.loads((run / "manifest.json").read_text())
    merged = manifest["handles"]["merge"]
    assert merged["merged"] == "qlora"
    assert abs(merged["metrics"]["merged_nll"] - merged["metrics"]["adapter_nll"]) < 0.01
