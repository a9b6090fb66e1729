"""Near-identical prompts: Jaccard similarity of five-character shingles."""

from collections.abc import Iterable

SHINGLE_CHARACTERS = 5
NEAR_SIMILARITY = 0.8


def split_shingles(text: str) -> frozenset[str]:
    """Cut a text, in lower case and with single spaces, into overlapping pieces.

    >>> sorted(split_shingles("Sum  it "))
    ['sum i', 'um it']
    """
    text = " ".join(text.lower().split())
    last = max(1, len(text) - SHINGLE_CHARACTERS + 1)
    return frozenset(text[start : start + SHINGLE_CHARACTERS] for start in range(last))


def is_near(shingles: frozenset[str], others: Iterable[frozenset[str]]) -> bool:
    """Tell whether some other text shares at least 0.8 of all pieces of the two."""
    for other in others:
        shared = len(shingles & other)
        if shared >= NEAR_SIMILARITY * (len(shingles) + len(other) - shared):
            return True
    return False
