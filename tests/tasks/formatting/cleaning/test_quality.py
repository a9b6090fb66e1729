from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.formatting.cleaning.quality import (
    find_flaw,
    is_truncated_json,
    measure_repeated_lines,
    measure_repeated_ngrams,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def test_repeated_lines_are_measured_by_their_characters() -> None:
    assert measure_repeated_lines("abcd\nef\nabcd\n\n  abcd\ngh\n") == 0.5
    assert measure_repeated_lines("same\n" * 4) == 0  # too few lines
    code = "\n".join(f"    if value_{n}:\n        return {n}\n    }}" for n in range(20))
    assert measure_repeated_lines(code) < 0.05


def test_an_answer_that_goes_round_in_circles_has_repeated_pieces() -> None:
    assert measure_repeated_ngrams("und so weiter " * 40) == pytest.approx(1 - 14 / 551)
    assert measure_repeated_ngrams("ab" * 50) == 0  # too short
    assert measure_repeated_ngrams("".join(map(chr, range(1000, 2000)))) == 0


@given(st.lists(JSON, min_size=1) | st.dictionaries(st.text(), JSON, min_size=1), st.data())
def test_json_that_ends_early_is_truncated_and_whole_json_is_not(
    value: object, data: st.DataObject
) -> None:
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans()), indent=2)
    cut = text[: data.draw(st.integers(1, len(text) - 1))]
    assert not is_truncated_json(text)
    assert not is_truncated_json(f"```json\n{text}\n```")
    assert is_truncated_json(f"```json\n{cut}")
    assert is_truncated_json(cut)


@pytest.mark.parametrize(
    "text",
    ["", "{name}", "[1] as cited", "[sic]", "{'a': 1", '{"a": "\\q"}', '{"a": 1} and so on',
     "No [", "{}", "[" * 100_000],
)  # fmt: skip
def test_other_texts_are_not_truncated_json(text: str) -> None:
    assert not is_truncated_json(text)


def test_flaws_are_said_in_words_without_the_text() -> None:
    assert find_flaw("repeated_lines", "secret text\n" * 10) == "90% of it in repeated lines"
    assert find_flaw("repeated_ngrams", "secret text " * 40) == "97% of its pieces repeat"
    assert find_flaw("truncated_json", '["secret') == "JSON that ends early"
    for rule in ("repeated_lines", "repeated_ngrams", "truncated_json"):
        assert find_flaw(rule, "A fine answer.") == ""
