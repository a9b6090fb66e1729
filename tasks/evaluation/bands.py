"""Perplexity in plain words."""

from __future__ import annotations

import math

BANDS = (
    (1.5, "nearly certain of every token"),
    (3.0, "very good, as on regular text or text known by heart"),
    (10.0, "good, as a model fine-tuned on such text"),
    (30.0, "fair, as a general model on text of a new kind"),
    (100.0, "poor: it follows the language, hardly the content"),
    (math.inf, "very poor: most tokens surprise it"),
)
"""By their upper ends. Where they lie is a rule of thumb for models of words and subwords."""


def describe_perplexity(perplexity: float) -> str:
    """Say what a perplexity means.

    >>> describe_perplexity(1.2)
    '1.20 (as unsure as between that many equally likely tokens): nearly certain of every token'
    """
    words = next(text for end, text in BANDS if perplexity <= end)
    return f"{perplexity:.2f} (as unsure as between that many equally likely tokens): {words}"
