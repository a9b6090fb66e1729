"""The masked preview: what the model sees, with the trained tokens marked."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from tasks.formatting.examples import Example
from tasks.formatting.rendering import IGNORE_INDEX, Renderer, TokenizedExample
from tasks.formatting.tokenizing import Split

NUM_PREVIEWED = 3
TRAINED_OPEN, TRAINED_CLOSE = "⟦", "⟧"


def write_preview(splits: dict[str, Split], renderer: Renderer) -> str:
    """Return a Markdown page with the first examples of each kind of the training split."""
    split = splits["train"]
    lines = [
        "# Masked preview",
        "",
        f"Text between {TRAINED_OPEN} and {TRAINED_CLOSE} is trained on, all else only read.",
    ]
    for number in choose_previewed(split.examples):
        example, tokens = split.examples[number], split.tokens[number]
        text = mark_trained(renderer, tokens)
        fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=2) + 1)
        share = f"{tokens.num_trained} of {len(tokens.input_ids)} tokens trained on"
        lines += ["", f"## {example.origin} ({share})", "", f"{fence}text", text, fence]
    return "\n".join([*lines, ""])


def choose_previewed(examples: Sequence[Example]) -> list[int]:
    """Return the first example of each `kind`, or the first few where rows have none."""
    firsts: dict[str, int] = {}
    for number, example in enumerate(examples):
        firsts.setdefault(str(example.fields.get("kind", number)), number)
    has_kinds = any("kind" in example.fields for example in examples)
    return list(firsts.values())[: None if has_kinds else NUM_PREVIEWED]


def mark_trained(renderer: Renderer, tokens: TokenizedExample) -> str:
    """Return the text of an example with the trained stretches in brackets."""
    text = ""
    pairs = zip(tokens.input_ids, tokens.labels, strict=True)
    for is_trained, stretch in itertools.groupby(pairs, lambda pair: pair[1] != IGNORE_INDEX):
        ids = [token_id for token_id, _ in stretch]
        part = renderer.tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        text += f"{TRAINED_OPEN}{part}{TRAINED_CLOSE}" if is_trained else part
    return text
