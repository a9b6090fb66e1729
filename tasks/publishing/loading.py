"""A published model, loaded and ready to answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from configs.errors import RequestError
from configs.schema import ModelConfig
from tasks.publishing.bases import BaseReference, find_base
from tasks.publishing.probes import render_input
from tasks.records.handles import Kind, Record
from tasks.records.observer import SilentObserver

if TYPE_CHECKING:
    from tasks.evaluation.generation import Answer
    from tasks.formatting.rendering.renderer import Renderer


class ModelSettings(Record):
    """What is needed, besides the artefact's files, to load it and to answer as evaluated."""

    base: BaseReference
    method: Literal["lora", "qlora", "full"]
    dtype: str
    kind: Kind
    template_digest: str
    max_new_tokens: int
    batch_size: int
    quantization: dict[str, Any]
    """The fields of `ModelConfig` that say how a 4-bit base was quantised."""


@dataclass(frozen=True)
class Published:
    """A loaded model with its renderer."""

    model: Any
    renderer: Renderer
    settings: ModelSettings

    def answer(
        self, rows: Sequence[Mapping[str, Any]], max_new_tokens: int | None = None
    ) -> list[Answer]:
        """Return the greedy answer to each row, by the evaluation's own code.

        Args:
            rows: Prompts, each with `messages` or `text`.
            max_new_tokens: Longest answer; by default the evaluation's.
        """
        from tasks.evaluation.generation import generate_answers

        return generate_answers(
            self.model,
            self.renderer,
            [render_input(self.renderer, row) for row in rows],
            max_new_tokens=max_new_tokens or self.settings.max_new_tokens,
            batch_size=self.settings.batch_size,
            observer=SilentObserver(),
        )


def load_published(folder: str | Path, config: Mapping[str, Any]) -> Published:
    """Load an artefact on its pinned base, on the best device here.

    Args:
        folder: The artefact, in Hugging Face's shape.
        config: `ModelSettings` as JSON.

    Raises:
        RequestError: The base is not the pinned one, the adapter does not fit it, or the
            template or tokenizer is not the one of training.
    """
    from tasks.formatting.rendering.renderer import load_renderer
    from tasks.training.devices import detect_device
    from tasks.training.models import load_trained

    settings = ModelSettings.model_validate(config)
    renderer = load_renderer(Path(folder), None, settings.kind)
    if renderer.digest != settings.template_digest:
        raise RequestError(
            where=str(folder),
            message="the chat template or tokenizer is not the one that the model was trained "
            f"with: found {renderer.digest[:12]}, trained with {settings.template_digest[:12]}",
            hint="load it with the library versions in its requirements.txt",
        )
    is_full = settings.method == "full"
    location, revision = ("", None) if is_full else find_base(settings.base)
    model = load_trained(
        Path(folder),
        location,
        method=settings.method,
        dtype=settings.dtype,
        device=detect_device().kind,
        model=ModelConfig(**settings.quantization),
        revision=revision,
    )
    return Published(model, renderer, settings)
