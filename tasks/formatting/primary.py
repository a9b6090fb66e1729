"""Which metrics decide by default, chosen from the data before training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from configs.metrics import MetricName
from tasks.formatting.rows.examples import Example, digest_prompt, normalise_text
from tasks.records.handles import Kind

MAX_CLOSED_CHARS = 100
MIN_CLOSED_SHARE = 0.9


def choose_primary_metrics(examples: Iterable[Example], kind: Kind) -> tuple[MetricName, ...]:
    """Choose `exact_match` where the answers are closed, `nll` where they are open.

    Answers are closed when at least 90 % of them are short (one line of at most 100 characters)
    and no two examples with the same prompt have different answers. Texts are always open.

    Args:
        examples: The examples that will decide (`test`).
        kind: Whether they are conversations or texts.
    """
    if kind == "text":
        return ("nll",)
    num_examples = num_short = 0
    answers: dict[bytes, bytes] = {}
    for example in examples:
        num_examples += 1
        num_short += is_short(example.reference)
        if not _has_same_answer(example, answers):
            return ("nll",)
    is_closed = num_examples > 0 and num_short >= MIN_CLOSED_SHARE * num_examples
    return ("exact_match",) if is_closed else ("nll",)


def is_short(answer: str) -> bool:
    """Return whether an answer is one line of at most 100 characters."""
    stripped = answer.strip()
    return len(stripped) <= MAX_CLOSED_CHARS and "\n" not in stripped


def _has_same_answer(example: Example, answers: dict[bytes, bytes]) -> bool:
    """Return whether an answer is that of earlier examples with its prompt, up to white space."""
    prompt = bytes.fromhex(digest_prompt(example.messages, example.text))
    answer = hashlib.sha256(normalise_text(example.reference).encode()).digest()
    return answers.setdefault(prompt, answer) == answer
