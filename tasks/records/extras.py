"""Parts that are not installed by default, and how a user gets them."""

from __future__ import annotations

from importlib.util import find_spec

from configs.errors import RequestError
from configs.schema import RunConfig

EXTRAS = {
    "bitsandbytes": "qlora",
    "gguf": "gguf",
    "liger_kernel": "liger",
    "lm_eval": "lm-eval",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "openai": "openai",
    "optuna": "sweep",
    "ray": "ray",
    "trl": "preference",
    "vllm": "vllm",
    "wandb": "wandb",
}
"""Importable package -> the extra of hone that brings it."""


def require_package(package: str, *, where: str, needed_for: str) -> None:
    """Refuse what needs a package that is not installed, and say which extra brings it.

    Args:
        package: Its importable name, one of `EXTRAS`.
        where: The config key or option that asks for it.
        needed_for: What asks for it, in words.

    Raises:
        RequestError: It is not installed.
    """
    if find_spec(package) is None:
        raise RequestError(
            where=where,
            message=f"{needed_for} needs {package}, which is not installed",
            hint=f"run `make install EXTRAS={EXTRAS[package]}` in hone's clone",
        )


def check_extras(config: RunConfig) -> None:
    """Refuse a config that asks for a part that is not installed, before anything is done.

    Raises:
        RequestError: Naming the key, the package and the extra that brings it.
    """
    if config.model.method == "qlora":
        require_package("bitsandbytes", where="model.method", needed_for="qlora")
    if config.training.use_liger_kernel:
        require_package(
            "liger_kernel", where="training.use_liger_kernel", needed_for="use_liger_kernel"
        )
    if config.training.launcher == "ray":
        require_package("ray", where="training.launcher", needed_for="ray")
    if config.training.objective != "sft":
        objective = config.training.objective
        require_package("trl", where="training.objective", needed_for=objective)
    if "wandb" in config.tracking.report_to:
        require_package("wandb", where="tracking.report_to", needed_for="wandb")
