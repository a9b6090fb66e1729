"""Samples are what the model answers greedily, prompt by prompt, whatever is batched with it."""

from __future__ import annotations

from pathlib import Path

import torch

from tasks.formatting.rendering.renderer import Renderer
from tasks.training.models import load_base
from tasks.training.samples import (
    MAX_NEW_TOKENS,
    generate_greedily,
    join_samples,
    read_sample_prompts,
)


def test_batched_answers_are_those_of_each_prompt(base: Path, renderer: Renderer) -> None:
    model = load_base(base, dtype="float32")
    model.generation_config.repetition_penalty = 9.0  # a base's own taste must not leak in
    prompts = [list(range(5, 9)), list(range(40, 60)), [7]]
    batched = generate_greedily(model, prompts, renderer)
    for prompt, answer in zip(prompts, batched, strict=True):
        ids = list(prompt)
        with torch.no_grad():
            while len(ids) < len(prompt) + MAX_NEW_TOKENS:
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
                if ids[-1] in renderer.end_token_ids:
                    break
        expected = ids[len(prompt) :]
        assert answer[: len(expected)] == expected
        assert set(answer[len(expected) :]) <= {renderer.pad_token_id}


def test_first_validation_prompts_are_taken(formatted: Path, tmp_path: Path) -> None:
    prompts = read_sample_prompts(formatted, 2)
    assert prompts
    assert len(prompts.examples) == 2
    assert read_sample_prompts(formatted, 0) is None
    assert read_sample_prompts(tmp_path, 2) is None


def test_samples_after_a_step_are_left_out(tmp_path: Path) -> None:
    """They are remains of an attempt that was interrupted."""
    for step in (5, 10, 15):
        (tmp_path / f"step-{step:08d}.md").write_text(f"## Step {step}\n")
    text = join_samples(tmp_path, 10)
    assert [line for line in text.splitlines() if "Step" in line] == ["## Step 5", "## Step 10"]
