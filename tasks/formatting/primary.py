"""Which metrics decide by default, chosen from the data before training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from configs.schema import MetricName
from tasks.formatting.examples import Example, digest_prompt, normalise_text
from tasks.records.handles import Kind

MAX_CLOSED_CHARS = 100
MIN_CLOSED_SHARE = 0.9


def choose_primary_metrics(examples: Sequence[Example], kind: Kind) -> tuple[MetricName, ...]:
    """Choose `exact_match` where the answers are closed, `nll` where they are open.

    Answers are closed when at least 90 % of them are short (one line of at most 100 characters)
    and no two examples with the same prompt have different answers. Texts are always open.

    Args:
        examples: The examples that will decide (`test`).
        kind: Whether they are conversations or texts.
    """
    if kind == "text" or not examples:
        return ("nll",)
    num_short = sum(is_short(example.reference) for example in examples)
    is_closed = num_short >= MIN_CLOSED_SHARE * len(examples) and have_one_right_form(examples)
    return ("exact_match",) if is_closed else ("nll",)


def is_short(answer: str) -> bool:
    """Return whether an answer is one line of at most 100 characters."""
    stripped = answer.strip()
    return len(stripped) <= MAX_CLOSED_CHARS and "\n" not in stripped


def have_one_right_form(examples: Sequence[Example]) -> bool:
    """Return whether equal prompts always have equal answers, up to white space."""
    answers: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        prompt = digest_prompt(example.messages, example.text)
        answers[prompt].add(normalise_text(example.reference))
    return all(len(forms) == 1 for forms in answers.values())
