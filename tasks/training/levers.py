"""Levers of speed that change the model for the time of its training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from configs.errors import RequestError
from configs.schema import TrainingConfig
from tasks.records.extras import require_package
from tasks.training.devices import Device

# Liger's own losses would compute all logits; ours are those of the trained tokens, in chunks.
LIGER_KERNELS = {
    "rope": True,
    "swiglu": True,
    "rms_norm": True,
    "cross_entropy": False,
    "fused_linear_cross_entropy": False,
}


def check_levers(training: TrainingConfig, device: Device) -> None:
    """Refuse levers that a device does not have.

    Raises:
        RequestError: Naming the key, the device, and what would do.
    """
    if training.tf32 is not None and not (device.kind == "cuda" and device.has_bfloat16):
        raise _refuse("tf32", str(training.tf32).lower(), device, "TensorFloat-32", "null")
    if training.activation_offloading and device.kind != "cuda":
        raise RequestError(
            where="training.activation_offloading",
            message=f"found true, but on {device.name or device.kind} activations lie in the "
            "processor's memory already",
            allowed="false",
        )
    if training.use_liger_kernel:
        if device.kind != "cuda":
            raise _refuse("use_liger_kernel", "true", device, "Liger's kernels", "false")
        require_package(
            "liger_kernel", where="training.use_liger_kernel", needed_for="use_liger_kernel"
        )


def _refuse(key: str, found: str, device: Device, what: str, allowed: str) -> RequestError:
    return RequestError(
        where=f"training.{key}",
        message=f"found {found}, but {what} need an NVIDIA GPU of the Ampere generation or newer, "
        f"and this machine has {device.name or device.kind}",
        allowed=allowed,
    )


@contextmanager
def compile_blocks(model: Any, *, enabled: bool, backend: str) -> Iterator[None]:
    """Compile the decoder blocks of a model inside the block, each on its own.

    One block is compiled and the others reuse its code: seconds instead of minutes for the whole.

    Args:
        model: The model, with or without an adapter, in the shape that it trains in.
        enabled: Whether to do so at all.
        backend: A name that torch.compile knows.

    Raises:
        RequestError: The model does not say what its decoder blocks are.
    """
    if not enabled:
        yield
        return
    names = set(getattr(model, "_no_split_modules", None) or ())
    blocks = [module for module in model.modules() if type(module).__name__ in names]
    if not blocks:
        raise RequestError(
            where="training.torch_compile",
            message=f"{type(model).__name__} does not name its decoder blocks",
            allowed="false for this model",
        )
    for block in blocks:
        block.compile(backend=backend)
    try:
        yield
    finally:
        for block in blocks:
            block._compiled_call_impl = None  # noqa: SLF001 - torch offers no way back
