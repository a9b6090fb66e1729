"""What is exported: a model as it is found, loaded in the precision that a format needs, merged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from configs.schema import ModelConfig
from tasks.records.handles import Kind

if TYPE_CHECKING:
    from tasks.formatting.rendering.renderer import Renderer


@dataclass(frozen=True)
class ExportSource:
    """A model that can be loaded, with what its run says about it."""

    name: str
    """As it was asked for."""
    digest: str
    folder: Path | None
    """The adapter's folder; None where the weights are whole."""
    base: Path
    """The base model, or the whole weights."""
    revision: str
    method: Literal["base", "lora", "qlora", "full"]
    dtype: str
    kind: Kind
    tokenizer_folder: Path
    settings: ModelConfig = field(default_factory=ModelConfig)
    """How a quantised base was quantised."""

    def load_renderer(self) -> Renderer:
        """Load the renderer that training and evaluation used."""
        from tasks.formatting.rendering.renderer import load_renderer

        return load_renderer(self.tokenizer_folder, None, self.kind)


@contextmanager
def open_source(source: ExportSource) -> Iterator[Any]:
    """Give the model as it was evaluated: in its own precision, on this machine's best device."""
    from tasks.training.devices import detect_device
    from tasks.training.shared_base import borrow_base, borrow_trained

    device = detect_device().kind
    options: dict[str, Any] = {"dtype": source.dtype, "device": device, "revision": source.revision}
    if source.folder is None:
        with borrow_base(source.base, **options) as model:
            yield model
        return
    with borrow_trained(
        source.folder, source.base, method=source.method, model=source.settings, **options
    ) as model:
        yield model


def load_whole(source: ExportSource, renderer: Renderer, *, dtype: str, device: str = "cpu") -> Any:
    """Load the model without an adapter: where it has one, it is merged into the base.

    One that was trained on a quantised base is merged into that base's values, dequantised.

    Args:
        source: The model.
        renderer: Its renderer, which knows how its answers end.
        dtype: Precision of the weights.
        device: Where they go.
    """
    from tasks.training.merging import merge_trained
    from tasks.training.models import load_base

    if source.folder is None:
        model = load_base(source.base, dtype=dtype, device=device)
    else:
        model = merge_trained(
            source.folder, source.base, method=source.method, dtype=dtype, device=device,
            model=source.settings,
        )  # fmt: skip
    set_greedy_generation(model, renderer)
    return model


def set_greedy_generation(model: Any, renderer: Renderer) -> None:
    """Let the export generate as the source was evaluated: greedily, with every end token."""
    from transformers import GenerationConfig

    from tasks.evaluation.generation import find_end_tokens

    model.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=list(find_end_tokens(model, renderer)),
        pad_token_id=renderer.pad_token_id,
    )


def write_companions(model: Any, renderer: Renderer, folder: Path) -> None:
    """Write what a model needs beside its weights: tokenizer, chat template, generation config."""
    renderer.save(folder)
    model.config.save_pretrained(str(folder))
    model.generation_config.save_pretrained(str(folder))
