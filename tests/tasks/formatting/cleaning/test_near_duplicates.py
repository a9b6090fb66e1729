from __future__ import annotations

import random
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.formatting.cleaning.near_duplicates import (
    BATCH_CHARS,
    NUM_PERM,
    PIECE_CHARS,
    render_signed_text,
    sign_texts,
)
from tasks.formatting.rows.examples import Example, Message


def measure_jaccard(first: str, second: str) -> float:
    pieces = [
        {t[n : n + PIECE_CHARS] for n in range(len(t) - PIECE_CHARS + 1)} for t in (first, second)
    ]
    return len(pieces[0] & pieces[1]) / len(pieces[0] | pieces[1])


def test_signatures_estimate_the_share_of_common_pieces() -> None:
    source = random.Random(0)  # noqa: S311 # seeded, not secret
    words = ["".join(source.choices("abcdefghij", k=source.randint(2, 9))) for _ in range(3000)]
    text = source.choices(words, k=300)
    errors = []
    for number in range(0, 200, 5):
        other = text.copy()
        for place in source.sample(range(300), number):
            other[place] = source.choice(words)
        first, second = sign_texts([" ".join(text), " ".join(other)])
        errors.append(np.mean(first == second) - measure_jaccard(" ".join(text), " ".join(other)))
    assert abs(np.mean(errors)) < 0.02
    assert np.max(np.abs(errors)) < 4 * 0.5 / NUM_PERM**0.5


def test_the_signature_of_a_text_is_the_same_for_ever() -> None:
    # Other values here would make stored signatures of test rows worthless.
    (signature,) = sign_texts(["Roll three six-sided dice, 骰子."])
    assert signature[:3].tolist() == [3241916592, 1912617249, 3229203053]


@given(st.lists(st.text(max_size=30), max_size=8))
def test_a_signature_does_not_depend_on_the_other_texts(texts: list[str]) -> None:
    together = sign_texts(texts)
    assert together.shape == (len(texts), NUM_PERM)
    for row, text in zip(together, texts, strict=True):
        assert (row == sign_texts([text])[0]).all()


def test_long_texts_are_signed_in_several_batches() -> None:
    texts = ["a long text " * (BATCH_CHARS // 20), "another", "one more " * (BATCH_CHARS // 10)]
    together = sign_texts(texts)
    assert all(
        (row == sign_texts([text])[0]).all() for row, text in zip(together, texts, strict=True)
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [("What  is\n ROLL? ", "what is roll?"),
     ("Äpfel und Birnen", unicodedata.normalize("NFD", "Äpfel und Birnen")), ("", " ")],
)  # fmt: skip
def test_case_white_space_and_composition_make_no_difference(first: str, second: str) -> None:
    one, other = sign_texts([first, second])
    assert (one == other).all()


def test_short_texts_are_one_piece() -> None:
    signatures = sign_texts(["", "a", "ab", "abcde"])
    assert len({row.tobytes() for row in signatures}) == 4


def test_a_system_turn_does_not_count() -> None:
    turns = (Message("user", "Why?"), Message("assistant", "So."))
    example = Example("1", "g", (Message("system", "Be kind."), *turns), "", "a:1")
    assert render_signed_text(example) == "Why?\nSo."
    assert render_signed_text(Example("1", "g", (), "A text.", "a:1")) == "A text."
