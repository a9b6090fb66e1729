"""Build steps that prefect.yaml calls."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from configs.errors import RequestError
from configs.load import apply_overrides, load_config
from configs.paths import CLONE
from deployments.pools import GPU, GPU_HOST
from flows.environment import prepare_environment


def load_preset(
    name: str, overrides: Mapping[str, Any] | None = None, pool: str = GPU
) -> dict[str, Any]:
    """Return a preset's resolved configuration, so that the UI's form shows its values.

    Args:
        name: A preset's name or path.
        overrides: Values by dotted key that replace the preset's.
        pool: The deployment's work pool: `gpu`, whose workers see one GPU each, or `gpu-host`.

    Returns:
        `config`: the values, as JSON types; `clone`: see `find_clone`.

    Raises:
        RequestError: There is no such preset, it is wrong, or it needs another pool.
    """
    config = apply_overrides(load_config(name), overrides or {})
    if config.training.num_gpus > 1 and pool == GPU:
        raise RequestError(
            message=f"found {config.training.num_gpus} with the work pool {GPU}, each of whose "
            "workers sees one GPU",
            where=f"preset {name}: training.num_gpus",
            allowed="1",
            hint=f"in prefect.yaml, give the deployment `work_pool: *gpu-host` and its step "
            f"`pool: {GPU_HOST}`",
        )
    return {"config": config.model_dump(mode="json"), **find_clone()}


def find_clone() -> dict[str, str]:
    """Return `clone`: the folder that runs are started in, this clone or the one that is named.

    Where the workers have another, in their image say, HONE_CLONE names it.
    """
    prepare_environment()  # `prefect deploy` reads no .env
    return {"clone": os.environ.get("HONE_CLONE") or str(CLONE)}
