"""Encoding the pieces of a rendered text, so that a row's text never becomes a control token."""

from __future__ import annotations

import itertools
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
        return self.encode_texts([pieces])[0]

    def encode_texts(self, texts: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """Return the ids of each piece of each text: many texts at once are encoded much faster."""
        parts = [[part for piece in pieces for part in piece.split(BREAK)] for pieces in texts]
        encoded = iter(self._encode_parts(parts))
        return [
            [join_ids([next(encoded) for _ in range(piece.count(BREAK) + 1)]) for piece in pieces]
            for pieces in texts
        ]

    def _encode_parts(self, texts: Sequence[Sequence[str]]) -> list[list[int]]:
        if not self.adds_space:
            return encode_together(self.tokenizer, [part for parts in texts for part in parts])
        # The first part of a text gets the space, if there is anything in it.
        firsts = iter(encode_together(self.tokenizer, [parts[0] for parts in texts]))
        inner = iter(encode_after_anchor(self.tokenizer, [p for parts in texts for p in parts[1:]]))
        return [
            next(inner) if number else next(firsts) if part else next(firsts)[:0]
            for parts in texts
            for number, part in enumerate(parts)
        ]


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
    adds_space = [plain] != encode_after_anchor(tokenizer, ["a"])
    return PieceEncoder(tokenizer, pattern, tuple(start) if has_start else (), adds_space)


def join_ids(pieces: Sequence[list[int]]) -> list[int]:
    """Return the ids of pieces in one list, which is that of a single piece itself."""
    return pieces[0] if len(pieces) == 1 else list(itertools.chain.from_iterable(pieces))


def encode_together(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Return the ids of each text, an empty one's are none."""
    if not tokenizer.is_fast:
        ids: list[list[int]] = [
            tokenizer.encode(text, add_special_tokens=False, verbose=False) for text in texts
        ]
        return ids
    # Past transformers, which would make lists of masks, types and offsets of each text too.
    backend = tokenizer.backend_tokenizer
    return [found.ids for found in backend.encode_batch_fast(texts, add_special_tokens=False)]


def encode_after_anchor(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Return the ids of each text in the middle of another, where no space is put before it."""
    result: list[list[int]] = [[] for _ in texts]
    left = [number for number, text in enumerate(texts) if text]
    for anchor in ANCHORS:
        [anchor_ids] = encode_together(tokenizer, [anchor])
        encoded = encode_together(tokenizer, [anchor + texts[number] for number in left])
        merged = []
        for number, ids in zip(left, encoded, strict=True):
            if ids[: len(anchor_ids)] == anchor_ids:
                result[number] = ids[len(anchor_ids) :]
            else:
                merged.append(number)
        left = merged
    if left:
        raise ValueError(f"no way to encode {texts[left[0]][:20]!r} in the middle of a text")
    return result
