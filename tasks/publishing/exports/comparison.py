"""The comparison of an export with its source: logits at every place of fixed prompts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import RunError
from tasks.formatting.rows.examples import Example, Message
from tasks.publishing.exports.sources import ExportSource, open_source

if TYPE_CHECKING:
    from tasks.formatting.rendering.renderer import Renderer

# In 8 (bfloat16) or 11 (float16) bits a logit of 20 has its neighbours 0.125 or 0.016 away, and
# other kernels sum in another order; float32 leaves no such room.
TOLERANCES = {"float32": 1e-3, "float16": 0.1, "bfloat16": 0.5}

TEXTS = (
    "What is one and one?",
    "Name three colours, in one short sentence.",
    "Read the file config.yaml, line 17: `max_length: 2048`. Which value stands there?",
    "def add(a, b):\n    return a + b\n\nWhat does add(2, 40) give?",
    "Überraschung! Dvořák, naïve, 東京, привет, 😀: which of these words are names?",
    "0123456789 3.14159 -5e-3 1,000,000 (a) [b] {c} <d> \"e\" 'f' it's we're I'LL",
)  # fmt: skip
TURNS = (
    (Message("user", TEXTS[0]), Message("assistant", "Two."), Message("user", "And one more?")),
    (Message("system", "Answer in one word."), Message("user", TEXTS[1])),
)


class ExportRefused(RunError):  # noqa: N818 - what happened, not a fault of the program
    """The export is not the model that it was made from."""

    code = "export_refused"


@dataclass(frozen=True)
class Reference:
    """What the source says to the probes."""

    prompts: list[list[int]]
    logits: list[Any]
    """Of each prompt, at each of its places: shape (tokens, vocabulary), float32."""

    conversation: list[dict[str, str]] | None
    """The first prompt before it was rendered; None where a text is its own prompt."""

    @property
    def num_tokens(self) -> int:
        """Places that are compared."""
        return sum(len(prompt) for prompt in self.prompts)


def render_probes(renderer: Renderer) -> list[list[int]]:
    """Return the token ids of the probes; turns that the template refuses are left out."""
    if renderer.chat_template is None:
        return [renderer.render_prompt(Example("", "", (), t, origin="probe")) for t in TEXTS]
    prompts = []
    for turns in [*((Message("user", text),) for text in TEXTS), *TURNS]:
        try:
            prompts.append(renderer.encode_prompt(turns))
        except ValueError:  # some templates know no system turn
            continue
    assert prompts, "a template that was loaded renders a user's turn"
    return prompts


def record_reference(source: ExportSource, renderer: Renderer) -> Reference:
    """Load the source as it was evaluated, and return its logits."""
    from tasks.training.shared_base import release_base

    prompts = render_probes(renderer)
    with open_source(source) as model:
        logits = [ask_model(model, prompt) for prompt in prompts]
    release_base()  # the export needs the memory
    conversation = [{"role": "user", "content": TEXTS[0]}] if renderer.chat_template else None
    return Reference(prompts, logits, conversation)


def ask_model(model: Any, prompt: list[int]) -> Any:
    """Return the logits of a transformers model at every place of a prompt, as float32."""
    import torch

    with torch.inference_mode():
        input_ids = torch.tensor([prompt], device=model.device)
        return model(input_ids=input_ids, use_cache=False).logits[0].float().cpu()


def compare_logits(reference: Reference, found: Sequence[Any]) -> float:
    """Return the largest difference of any logit at any place; infinite where one is not finite.

    Raises:
        ExportRefused: The vocabularies differ.
    """
    differences = []
    for expected, logits in zip(reference.logits, found, strict=True):
        if logits.shape != expected.shape:
            raise ExportRefused(
                message=f"it gives logits of shape {tuple(logits.shape)}, "
                f"its source {tuple(expected.shape)}"
            )
        is_finite = bool(logits.isfinite().all())
        differences.append(float((logits - expected).abs().max()) if is_finite else float("inf"))
    return max(differences)


def check_difference(difference: float, tolerance: float, dtype: str) -> None:
    """Refuse an export that is too far from its source.

    Raises:
        ExportRefused: With the difference.
    """
    if difference > tolerance:
        raise ExportRefused(
            message="the export is not the model that it was made from: the largest difference "
            f"of logits is {difference:.3g}",
            allowed=f"{tolerance:g} (in {dtype})",
            hint="nothing was written; --tolerance sets another limit",
        )


@contextmanager
def make_folder_beside(target: Path) -> Iterator[Path]:
    """Give a temporary folder on the same disk as `target`, so that a rename can put it there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        yield Path(folder)
