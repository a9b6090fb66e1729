"""What the real runs need: LLaMA-Factory's own environment, which no test installs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from configs.schema import ModelConfig, TrainingConfig
from tasks.training.engines.llamafactory.environment import VARIABLE, find_python
from tests.tasks.training.conftest import LORA, TRAINING


@pytest.fixture(scope="session")
def python() -> Path:
    """The Python of a ready environment; without one the test is skipped."""
    found = find_python()
    if found is None:
        pytest.skip(
            f"LLaMA-Factory's environment is not there: name one by {VARIABLE}, or make it with "
            "python -m tasks.training.engines.llamafactory.environment"
        )
    return found


def change(config: Any, **fields: Any) -> Any:
    return type(config).model_validate(config.model_dump() | fields)


MODEL: ModelConfig = LORA
ENGINE: TrainingConfig = change(TRAINING, engine="llamafactory", packing=False)
