"""Sample generations during training: a few validation prompts, answered at each validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, TrainerCallback

from tasks.formatting.rendering.renderer import Renderer
from tasks.formatting.rows.examples import Example, read_examples
from tasks.records.observer import Observer
from tasks.records.writing import write_text
from tasks.training.attention import use_attention
from tasks.training.job import load_formatted_renderer
from tasks.training.ranks import is_first

MAX_NEW_TOKENS = 64


@dataclass(frozen=True)
class SamplePrompts:
    """Prompts with what was hoped for, and what renders them."""

    renderer: Renderer
    examples: tuple[Example, ...]


def read_sample_prompts(formatted: Path, count: int) -> SamplePrompts | None:
    """Return the first validation prompts, or None when there are none or none are wanted.

    Args:
        formatted: The folder that formatting wrote.
        count: How many.
    """
    path = formatted / "examples" / "validation.jsonl"
    if count == 0 or not path.is_file():
        return None
    examples = tuple(read_examples(path)[:count])
    if not examples:
        return None
    return SamplePrompts(load_formatted_renderer(formatted), examples)


class SampleWriter(TrainerCallback):  # type: ignore[misc]
    """Answers the prompts at each validation, for people to look at.

    Args:
        prompts: What to answer.
        observer: What the task plugged in.
        out: `samples/step-N.md` and, of all steps, `samples.md` are written there.
        attention: The attention implementation for generation.
    """

    def __init__(
        self, prompts: SamplePrompts, observer: Observer, out: Path, attention: str
    ) -> None:
        self.prompts = prompts
        self.observer = observer
        self.out = out
        self.attention = attention

    def on_evaluate(
        self,
        args: Any,  # noqa: ARG002 - transformers' signature
        state: Any,
        control: Any,  # noqa: ARG002
        model: Any = None,
        **_: Any,
    ) -> None:
        """Generate, write and report."""
        step = state.global_step
        text = f"## Step {step}\n\n" + "\n".join(self._answer(model))
        if not is_first():
            return
        write_text(self.out / "samples" / f"step-{step:08d}.md", text)
        write_text(self.out / "samples.md", join_samples(self.out / "samples", step))
        self.observer.report_text(f"samples-{step}", text)

    def _answer(self, model: Any) -> Sequence[str]:
        renderer = self.prompts.renderer
        prompts = [renderer.render_prompt(example) for example in self.prompts.examples]
        with use_attention(model, self.attention):
            answers = generate_greedily(model, prompts, renderer)
        return [
            f"**Prompt**\n\n{_quote(renderer.decode(ids))}\n**Expected**\n\n"
            f"{_quote(renderer.render_reference(example))}\n**Answer**\n\n"
            f"{_quote(renderer.decode(answer))}"
            for ids, example, answer in zip(prompts, self.prompts.examples, answers, strict=True)
        ]


def generate_greedily(
    model: Any, prompts: Sequence[Sequence[int]], renderer: Renderer
) -> list[list[int]]:
    """Return the tokens of a greedy answer to each prompt, at most 64.

    Args:
        model: The model; it is in eval mode afterwards.
        prompts: The rendered prompts, answered as one batch, padded on the left.
        renderer: Knows the end tokens.
    """
    model.eval()
    width = max(map(len, prompts))
    pads = [width - len(ids) for ids in prompts]
    config = GenerationConfig(
        do_sample=False,  # what is not said here comes from the model's own generation_config
        num_beams=1,
        repetition_penalty=1.0,
        max_new_tokens=MAX_NEW_TOKENS,
        eos_token_id=list(renderer.end_token_ids),
        pad_token_id=renderer.pad_token_id,
    )
    padded = [[renderer.pad_token_id] * n + list(ids) for n, ids in zip(pads, prompts, strict=True)]
    mask = [[0] * n + [1] * (width - n) for n in pads]
    output = model.generate(  # which computes no gradients
        input_ids=torch.tensor(padded, device=model.device),
        attention_mask=torch.tensor(mask, device=model.device),
        generation_config=config,
    )
    answers: list[list[int]] = output[:, width:].tolist()
    return answers


def join_samples(folder: Path, last_step: int) -> str:
    """Return the samples of all steps up to one as one text."""
    paths = sorted(folder.glob("step-*.md"))
    texts = [p.read_text(encoding="utf-8") for p in paths if int(p.stem[5:]) <= last_step]
    return "# Sample generations\n\n" + "\n".join(texts)


def _quote(text: str) -> str:
    """Return a text as a Markdown block in which nothing is interpreted."""
    return "".join(f"    {line}\n" for line in (text.splitlines() or [""]))
