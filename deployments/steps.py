"""Build steps that prefect.yaml calls."""

from __future__ import annotations

from typing import Any

from configs.load import load_config
from configs.paths import CLONE


def load_preset(name: str) -> dict[str, Any]:
    """Return a preset's resolved configuration, so that the UI's form shows its values.

    Args:
        name: A preset's name or path.

    Returns:
        `config`: the values, as JSON types; `clone`: the folder that the deployment is made from.

    Raises:
        RequestError: There is no such preset, or it is wrong.
    """
    return {"config": load_config(name).model_dump(mode="json"), "clone": str(CLONE)}
