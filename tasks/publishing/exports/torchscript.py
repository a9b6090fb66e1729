"""TorchScript: for runtimes in C++ that read nothing else. Deprecated upstream, and a pickle."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tasks.publishing.exports.comparison import Reference
from tasks.publishing.exports.sources import (
    ExportSource,
    load_whole,
    write_companions,
)

if TYPE_CHECKING:
    from tasks.formatting.rendering.renderer import Renderer

FILE = "model.pt"
NOTES = (
    "TorchScript is deprecated by PyTorch; onnx is the export that stays",
    f"{FILE} contains pickle, which may run code when it is loaded; hone never publishes it",
)
EXAMPLE = ((1, 1, 1), (0, 1, 1))  # two rows of three tokens, the second one padded on the left


class Logits(torch.nn.Module):  # type: ignore[misc]
    """What is traced: token ids and their mask in, logits out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        """Return logits of shape (rows, tokens, vocabulary)."""
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        return output.logits


def check_source(source: ExportSource) -> None:
    """Take every model."""


def write_files(source: ExportSource, renderer: Renderer, folder: Path) -> tuple[str, ...]:
    """Trace the merged model in float32; it takes any number of rows and tokens.

    Args:
        source: What is exported.
        renderer: Its renderer.
        folder: An empty folder.

    Returns:
        What a user should know.
    """
    model = load_whole(source, renderer, dtype="float32")
    mask = torch.tensor(EXAMPLE)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated is said in NOTES
        traced = torch.jit.trace(Logits(model), (mask, mask), check_trace=False)
        traced.save(str(folder / FILE))
    write_companions(model, renderer, folder)
    return NOTES


def measure_files(folder: Path, reference: Reference) -> list[Any]:
    """Return the logits of the traced file, loaded again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.load(str(folder / FILE))
    with torch.inference_mode():
        return [
            traced(ids := torch.tensor([prompt]), torch.ones_like(ids))[0].float()
            for prompt in reference.prompts
        ]
