"""MinHash signatures of texts: how alike two rows are, in 512 bytes a row."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.formatting.rows.examples import Example
from tasks.formatting.splits.split_hash import mix_bits

NUM_PERM = 128  # the standard error of a similarity of 0.8 is sqrt(0.8 x 0.2 / 128) = 0.035
PIECE_CHARS = 5
SEED = 1
SIGNATURE_VERSION = f"rensa-2-{PIECE_CHARS}-{NUM_PERM}-{SEED}"  # others cannot be compared
BATCH_CHARS = 1 << 20  # of 8-byte hashes at a time: a few tens of megabytes
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / the golden ratio, odd


def render_signed_text(example: Example) -> str:
    """Return what of an example is compared: its turns but the system turn, or its text.

    A system turn that all rows share would make all rows alike.
    """
    turns = [message.readable for message in example.messages if message.role != "system"]
    return "\n".join(turns) if turns else example.text


def sign_texts(texts: Sequence[str]) -> NDArray[np.uint32]:
    """Return the MinHash signature of each text.

    A text is the set of its pieces of five characters, after Unicode normalisation, case folding
    and with every run of white space as one space. Characters rather than words: the same holds
    for code and for languages that write no spaces. A shorter text is one piece.

    Returns:
        Shape (texts, NUM_PERM). The share of places in which two signatures agree estimates the
        Jaccard similarity of the sets of pieces.

    Source: Broder, On the resemblance and containment of documents, 1997.
    """
    result = np.empty((len(texts), NUM_PERM), np.uint32)
    start = 0
    folded = [_fold_text(text) for text in texts]
    while start < len(folded):
        end, chars = start, 0
        while end < len(folded) and (end == start or chars + len(folded[end]) <= BATCH_CHARS):
            chars += len(folded[end])
            end += 1
        result[start:end] = _sign_batch(folded[start:end])
        start = end
    return result


def _fold_text(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.casefold().split()).ljust(PIECE_CHARS, "\0")


def _sign_batch(texts: Sequence[str]) -> NDArray[np.uint32]:
    from rensa import RMinHash

    joined = "".join(texts).encode("utf-32-le", "surrogatepass")
    chars = np.frombuffer(joined, "<u4")
    ends = np.cumsum([len(text) for text in texts])
    hashes = _hash_pieces(chars)
    # The pieces that begin in the last four characters of a text reach into the next one.
    is_whole = np.ones(len(chars), np.bool_)
    for back in range(1, PIECE_CHARS):
        is_whole[ends - back] = False
    offsets = np.concatenate([[0], ends - (PIECE_CHARS - 1) * np.arange(1, len(texts) + 1)])
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        hashes[is_whole[: len(hashes)]], offsets.astype(np.uint64), NUM_PERM, SEED
    )
    return np.array(matrix.to_rows(), np.uint32)


def _hash_pieces(chars: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Return a hash of the piece that begins at each character: a polynomial, well mixed."""
    wide = chars.astype(np.uint64)
    length = len(wide) - PIECE_CHARS + 1
    hashes = wide[:length].copy()
    for shift in range(1, PIECE_CHARS):
        hashes *= MULTIPLIER
        hashes += wide[shift : shift + length]
    return mix_bits(hashes)
