"""Base weights in memory: loaded once for all stages that use them one after the other."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from configs.schema import ModelConfig
from tasks.training.adapters import detach_adapter, load_adapter
from tasks.training.models import check_method, load_base

LOG = logging.getLogger("hone")


@dataclass(frozen=True)
class HeldBase:
    """A loaded base model, with what it was like when it was loaded."""

    key: tuple[Any, ...]
    model: PreTrainedModel
    state: tuple[Any, ...]
    generation_config: Any
    attention: str
    trained: frozenset[str]
    """Names of the parameters that ask for gradients."""


_held: list[HeldBase] = []  # at most one: a second set of weights may not fit beside it


@contextmanager
def borrow_base(
    location: Path | str,
    *,
    dtype: str,
    device: str,
    method: str = "full",
    model: ModelConfig | None = None,
    revision: str | None = None,
) -> Iterator[PreTrainedModel]:
    """Give a base model as its files say, without loading it again where the last user had it.

    Whoever borrows it may put an adapter on it, train, or change how it runs. Afterwards it is
    kept for the next one only if every weight and module is what was loaded; else it is dropped.

    Args:
        location: A folder, or a hub id.
        dtype: As in `load_base`.
        device: As in `load_base`.
        method: As in `load_base`.
        model: As in `load_base`.
        revision: What it is pinned to: a hub commit or a content digest.

    Raises:
        RequestError: As `load_base`.
    """
    key = _make_key(location, revision, dtype, device, method, model)
    held = _take(key)
    if held is None:
        is_local = Path(location).is_dir()
        base = load_base(
            location,
            dtype=dtype,
            method=method,
            model=model,
            device=device,
            revision=None if is_local else revision,
        )
        held = _describe(key, base)
        del base
    yield held.model
    _give_back(held)


@contextmanager
def borrow_trained(
    folder: Path,
    base_location: Path | str,
    *,
    method: str,
    dtype: str,
    device: str,
    model: ModelConfig | None = None,
    revision: str | None = None,
) -> Iterator[Any]:
    """Give a trained model as `load_trained` loads it, its adapter on a borrowed base.

    Raises:
        RequestError: As `load_trained`.
    """
    check_method(folder, method)
    if method == "full":
        yield load_base(folder, dtype=dtype, device=device)
        return
    with borrow_base(
        base_location, dtype=dtype, device=device, method=method, model=model, revision=revision
    ) as base:
        adapted = load_adapter(base, folder)
        yield adapted
        detach_adapter(adapted)


def lend_base(
    base: PreTrainedModel,
    location: Path | str,
    *,
    dtype: str,
    device: str,
    method: str = "full",
    model: ModelConfig | None = None,
    revision: str | None = None,
) -> None:
    """Keep a base model that was made elsewhere for the next user, as if it had been loaded.

    Args:
        base: The model, in eval mode, on its device.
        location: The name that it will be asked for by; nothing need lie there.
        dtype: As in `load_base`.
        device: As in `load_base`.
        method: As in `load_base`.
        model: As in `load_base`.
        revision: As in `borrow_base`.
    """
    release_base()
    _held.append(_describe(_make_key(location, revision, dtype, device, method, model), base))


def release_base() -> None:
    """Give up the base model that is kept for the next user."""
    _held.clear()


def _make_key(
    location: Path | str,
    revision: str | None,
    dtype: str,
    device: str,
    method: str,
    model: ModelConfig | None,
) -> tuple[Any, ...]:
    """Return what two users must have in common to share a base."""
    quantization = None
    if method == "qlora" and model:
        quantization = (
            model.load_in_8bit, model.bnb_4bit_quant_type, model.use_bnb_nested_quant,
        )  # fmt: skip
    return (str(location), revision, dtype, device, quantization)


def _take(key: tuple[Any, ...]) -> HeldBase | None:
    """Return the kept base if it is the one; any other is given up to make room."""
    if not _held:
        return None
    held = _held.pop()
    return held if held.key == key else None


def _give_back(held: HeldBase) -> None:
    base = held.model
    base.eval()
    base.generation_config = copy.deepcopy(held.generation_config)
    if base.is_activation_checkpointing:
        base.activation_checkpointing_disable()
    base.disable_input_require_grads()
    if base.config._attn_implementation != held.attention:  # noqa: SLF001 - there is no getter
        base.set_attn_implementation(held.attention)
    for name, parameter in base.named_parameters():
        parameter.grad = None
        parameter.requires_grad_(name in held.trained)
    if _describe_state(base) == held.state:
        release_base()
        _held.append(held)
    else:
        LOG.debug("the base model was changed, and will be loaded again")


def _describe(key: tuple[Any, ...], base: PreTrainedModel) -> HeldBase:
    return HeldBase(
        key=key,
        model=base,
        state=_describe_state(base),
        generation_config=copy.deepcopy(base.generation_config),
        attention=base.config._attn_implementation,  # noqa: SLF001 - there is no getter
        trained=frozenset(name for name, p in base.named_parameters() if p.requires_grad),
    )


def _describe_state(base: PreTrainedModel) -> tuple[Any, ...]:
    """Return what changes whenever weights, modules, hooks or the model's config change.

    A tensor's version counts what was written to it in place; its address changes when it is
    replaced.
    """
    modules = tuple(
        (name, type(module), "forward" in vars(module), _count_hooks(module))
        for name, module in base.named_modules()
    )
    tensors = tuple(
        (name, tensor.data_ptr(), tensor._version, tensor.dtype)  # noqa: SLF001 - torch names it so
        for name, tensor in [*base.named_parameters(), *base.named_buffers()]
    )
    return modules, tensors, base.config.to_dict()


def _count_hooks(module: Any) -> int:
    kinds = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)  # noqa: SLF001
    return sum(len(hooks) for hooks in kinds)
