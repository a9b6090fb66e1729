"""The same from Python, as the README shows it: configure, train, evaluate, generate."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import RequestError
from configs.load import load_config
from tests.flows.conftest import RunFlow
from tests.flows.running import list_versions


def test_configure_train_evaluate_generate(
    warm_home: Path, preset: Path, run_flow: RunFlow
) -> None:
    from tasks.generate import Speaker
    from tasks.score import score

    config = load_config(str(preset), ["training.max_steps=15"])
    assert config.training.max_steps == 15
    result = run_flow("training.max_steps=15")
    assert result.verdict == "better"
    assert result.run_dir is not None
    assert list_versions(warm_home) == ["1"]

    with pytest.raises(RequestError, match="left to the gate"):  # there is no other set here
        score(result.run_dir, config, None)
    scored = score("models:/small@champion", config, preset.parent / "data/eval/test.jsonl")
    assert [values["exact_match"] for values in scored.metrics.values()] == [1.0]

    for model in (result.run_dir, f"{result.run_dir}/checkpoints/best", "models:/small/1"):
        assert Speaker(model).answer(["Put amber in the box."], max_new_tokens=8) == ["Done."]
