"""Formatted pairs and labelled answers, on the tiny two-layer model."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.formatting.rendering.renderer import Renderer
from tasks.formatting.rows.examples import Example, Message
from tests.tasks.training.conftest import (
    base,
    make_examples,
    one_thread,
    renderer,
    write_formatted,
)

__all__ = ["base", "one_thread", "renderer"]


def make_pairs(count: int, seed: int) -> list[Example]:
    """Return questions with a right answer, chosen, and the same answer refused politely."""
    return [
        replace(e, rejected=(Message("assistant", "please " * (1 + i % 3)),), rejected_at=1)
        for i, e in enumerate(make_examples(count, seed))
    ]


def make_labelled(count: int, seed: int) -> list[Example]:
    """Return right answers that are desired, and polite ones that are not."""
    draw = random.Random(seed)  # noqa: S311 - test data
    examples = []
    for example in make_examples(count, seed):
        label = draw.random() < 0.5
        answer = example.messages[1] if label else Message("assistant", "please please")
        examples.append(replace(example, messages=(example.messages[0], answer), label=label))
    return examples


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory, renderer: Renderer) -> Path:
    splits = {"train": make_pairs(22, seed=1), "validation": make_pairs(7, seed=2)}
    return write_formatted(tmp_path_factory.mktemp("pairs"), renderer, splits)


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory, renderer: Renderer) -> Path:
    splits = {"train": make_labelled(21, seed=1), "validation": make_labelled(8, seed=2)}
    return write_formatted(tmp_path_factory.mktemp("labelled"), renderer, splits)
