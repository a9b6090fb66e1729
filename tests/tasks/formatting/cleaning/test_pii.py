from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.formatting.cleaning.pii import MASKS, is_card, mask_pii

DIGITS = "abcdef0123456789ABCDEFabcdef0123456789ABCD"

FOUND = [
    ("ada.lovelace+x@mail.example.co.uk", "email"),
    ("müller@bücher.de", "email"),
    ("4111 1111 1111 1111", "card"),
    ("5500-0000-0000-0004", "card"),
    ("378282246310005", "card"),
    ("8.8.8.8", "ip"),
    ("+49 (0) 30 1234567", "phone"),
    ("+14155552671", "phone"),
    ("0049 30 123456", "phone"),
    ("(415) 555-2671", "phone"),
    ("1-415-555-2671", "phone"),
    ("06 12 34 56 78", "phone"),
    ("020 7946 0958", "phone"),
    ("030/1234567", "phone"),
    ("AKIAIOSFODNN7EXAMPLE", "key"),
    (f"ghp_{DIGITS[:36]}", "key"),
    (f"github_pat_{DIGITS}", "key"),
    (f"hf_{DIGITS[:34]}", "key"),
    (f"sk-proj-{DIGITS}", "key"),
    (f"sk_live_{DIGITS[:24]}", "key"),
    (f"AIza{DIGITS[:35]}", "key"),
    (f"eyJ{DIGITS[:20]}.eyJ{DIGITS[:20]}.{DIGITS[:20]}", "key"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "key"),
]

NOT_FOUND = [
    "git@github.com:owner/repository.git",
    "user@host",
    "@pytest.mark.slow",
    "left-pad@1.2.3",
    "4111 1111 1111 1112",  # the check digit is wrong
    "9111 1111 1111 1116",  # nobody issues these
    "192.168.1.1",
    "127.0.0.1",
    "300.1.1.1",
    "1.2.3.4.5",
    "2026-01-15 12:30:45",
    "978-3-16-148410-0",
    "3.14159265358979",
    "1,000,000",
    "550e8400-e29b-41d4-a716-446655440000",
    "20260115",
    "sk-estimator-doc-link-label",
    "-----BEGIN PUBLIC KEY-----",
]


@pytest.mark.parametrize(("text", "kind"), FOUND, ids=[text[:20] for text, _ in FOUND])
def test_personal_data_is_masked_whole_wherever_it_stands(text: str, kind: str) -> None:
    assert mask_pii(text) == (MASKS[kind], {kind})
    assert mask_pii(f"See {text}, please.") == (f"See {MASKS[kind]}, please.", {kind})
    assert mask_pii(f'{{"a": "{text}"}}') == (f'{{"a": "{MASKS[kind]}"}}', {kind})


@pytest.mark.parametrize("text", NOT_FOUND)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert mask_pii(f"See {text}, please.") == (f"See {text}, please.", frozenset())


def test_a_private_key_that_is_cut_is_masked_to_the_end() -> None:
    assert mask_pii("a -----BEGIN PRIVATE KEY-----\nMIIE")[0] == "a [KEY]"


def test_the_same_kind_is_masked_each_time() -> None:
    assert mask_pii("a@b.org b@c.org 8.8.8.8") == ("[EMAIL] [EMAIL] [IP]", {"email", "ip"})


@given(st.integers(10**14, 10**15 - 1))
def test_one_check_digit_of_ten_is_right(number: int) -> None:
    cards = [f"4{str(number)[1:]}{digit}" for digit in range(10)]
    assert sum(map(is_card, cards)) == 1


@given(st.text(alphabet="a@.+-_ 0123456789()/sk-eyJ\n"))
def test_nothing_is_found_in_a_masked_text(text: str) -> None:
    masked, kinds = mask_pii(text)
    assert mask_pii(masked) == (masked, frozenset())
    assert (masked == text) == (not kinds)


@pytest.mark.parametrize(
    "piece", ["@", "a.", "a@", "a@b.", "1 ", "+1", "0 ", "1.", "(", "sk-", "eyJ", "-----BEGIN "]
)
def test_no_text_takes_long(piece: str) -> None:
    start = time.perf_counter()
    mask_pii(piece * (50_000 // len(piece)))
    assert time.perf_counter() - start < 1
