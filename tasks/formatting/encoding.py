"""Encoding the pieces of a rendered text, so that a row's text never becomes a control token."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# A Unicode noncharacter, never found in interchanged text. It is put inside each control token
# that stands in a row's text, so that the rendered text holds only the template's own ones.
BREAK = "\ufdd0"
# Texts to encode a piece after, for tokenizers that put a space before the start of a text.
ANCHORS = ("\n", "|", "0")


@dataclass(frozen=True)
class PieceEncoder:
    """Encodes the pieces of a text one by one, each as if it stood in its place in the text."""

    tokenizer: Any
    control_tokens: re.Pattern[str]
    """Matches every special token of the tokenizer."""
    start_ids: tuple[int, ...]
    """The token that the tokenizer puts before a text by itself, if any."""
    adds_space: bool
    """Whether the tokenizer puts a space before the start of a text (Llama 2, Mistral)."""

    def break_controls(self, text: str) -> str:
        """Return a row's text with a break inside each control token that stands in it."""
        return self.control_tokens.sub(lambda m: f"{m[0][:1]}{BREAK}{m[0][1:]}", text)

    def encode_pieces(self, pieces: Sequence[str]) -> list[list[int]]:
        """Return the ids of each piece of a text, in order; nothing is put between or before."""
        parts = [part for piece in pieces for part in piece.split(BREAK)]
        encoded = iter(self._encode_parts(parts))
        return [
            [i for _ in range(piece.count(BREAK) + 1) for i in next(encoded)] for piece in pieces
        ]

    def _encode_parts(self, parts: list[str]) -> list[list[int]]:
        if self.adds_space:
            inner = [
                _encode_after_anchor(self.tokenizer, part) if part else [] for part in parts[1:]
            ]
            return [self._encode_together(parts[:1])[0] if parts[0] else [], *inner]
        return self._encode_together(parts)

    def _encode_together(self, parts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(parts, add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        return ids


def make_encoder(tokenizer: Any, end_token: str) -> PieceEncoder:
    """Return the encoder of a transformers tokenizer.

    Args:
        tokenizer: The tokenizer.
        end_token: The token that ends a turn, a control token even where it is not marked special.
    """
    added = tokenizer.added_tokens_decoder.values()
    controls = {str(token) for token in added if token.special} | {end_token}
    longest_first = sorted((t for t in controls if len(t) > 1), key=lambda t: (-len(t), t))
    pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")  # (?!) never matches
    plain = tokenizer.encode("a", add_special_tokens=False)
    start = tokenizer.encode("a")[:1]
    has_start = start != plain[:1] and start == [tokenizer.bos_token_id]
    adds_space = plain != _encode_after_anchor(tokenizer, "a")
    return PieceEncoder(tokenizer, pattern, tuple(start) if has_start else (), adds_space)


def _encode_after_anchor(tokenizer: Any, text: str) -> list[int]:
    """Return the ids of a text in the middle of another, where no space is put before it."""
    for anchor in ANCHORS:
        anchor_ids: list[int] = tokenizer.encode(anchor, add_special_tokens=False)
        ids: list[int] = tokenizer.encode(anchor + text, add_special_tokens=False, verbose=False)
        if ids[: len(anchor_ids)] == anchor_ids:
            return ids[len(anchor_ids) :]
    raise ValueError(f"no way to encode {text[:20]!r} in the middle of a text")
