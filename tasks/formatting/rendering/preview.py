"""The masked preview: what the model sees, with the trained tokens marked."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tasks.formatting.rendering.renderer import IGNORE_INDEX, Renderer, TokenizedExample
from tasks.formatting.rows.examples import Example

NUM_PREVIEWED = 3
MAX_KINDS = 20
TRAINED_OPEN, TRAINED_CLOSE = "⟦", "⟧"


@dataclass(frozen=True)
class PreviewedRow:
    """A row of the training split to show."""

    kind: str | None
    """The row's field `kind`; None where it has none."""
    origin: str
    input_ids: list[int]
    labels: list[int]


@dataclass
class Previews:
    """The first example of each `kind`, or the first few where rows have none."""

    rows: list[PreviewedRow] = field(default_factory=list)

    def offer(self, example: Example, tokens: TokenizedExample) -> None:
        """Take a row when it is one of the first of its kind."""
        kind = str(example.fields["kind"]) if "kind" in example.fields else None
        if self._is_wanted(kind):
            row = PreviewedRow(kind, example.origin, tokens.input_ids, tokens.labels)
            self.rows.append(row)

    def merge(self, other: Previews) -> None:
        """Take the rows that a later part offers."""
        for row in other.rows:
            if self._is_wanted(row.kind):
                self.rows.append(row)

    def choose(self) -> list[PreviewedRow]:
        """Return the rows to show: one of each kind where rows have kinds."""
        firsts = {row.kind: row for row in reversed(self.rows)}
        if set(firsts) <= {None}:
            return self.rows
        return [row for row in self.rows if firsts[row.kind] is row]

    def to_dict(self) -> dict[str, Any]:
        """Return the previews as a JSON value."""
        return {"rows": [vars(row) for row in self.rows]}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Previews:
        """Return the previews that `to_dict` gave."""
        return cls([PreviewedRow(**row) for row in value["rows"]])

    def _is_wanted(self, kind: str | None) -> bool:
        kinds = [row.kind for row in self.rows]
        if kind is None:
            return kinds.count(None) < NUM_PREVIEWED
        return kind not in kinds and len(kinds) < MAX_KINDS + NUM_PREVIEWED


def write_preview(rows: Iterable[PreviewedRow], renderer: Renderer) -> str:
    """Return a Markdown page with some rows of the training split."""
    lines = [
        "# Masked preview",
        "",
        f"Text between {TRAINED_OPEN} and {TRAINED_CLOSE} is trained on, all else only read.",
    ]
    for row in rows:
        text = mark_trained(renderer, row.input_ids, row.labels)
        fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=2) + 1)
        num_trained = sum(label != IGNORE_INDEX for label in row.labels)
        share = f"{num_trained} of {len(row.input_ids)} tokens trained on"
        lines += ["", f"## {row.origin} ({share})", "", f"{fence}text", text, fence]
    return "\n".join([*lines, ""])


def mark_trained(renderer: Renderer, input_ids: list[int], labels: list[int]) -> str:
    """Return the text of an example with the trained stretches in brackets."""
    text = ""
    pairs = zip(input_ids, labels, strict=True)
    for is_trained, stretch in itertools.groupby(pairs, lambda pair: pair[1] != IGNORE_INDEX):
        ids = [token_id for token_id, _ in stretch]
        part = renderer.tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        text += f"{TRAINED_OPEN}{part}{TRAINED_CLOSE}" if is_trained else part
    return text
