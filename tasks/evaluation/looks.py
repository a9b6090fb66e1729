"""Looks at a test set: one for each candidate, with the share of alpha that each may spend."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.records.home import find_home
from tasks.records.locks import hold_lock
from tasks.records.writing import read_json, write_json

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Look:
    """One look of the gate at a test set on behalf of a model name."""

    number: int
    """Which look this is, from 1."""
    alpha: float
    """The share of the gate's alpha that it may spend."""
    remaining: float
    """What is left of the gate's alpha for all looks after this one."""
    repeated: bool
    """Whether this candidate was looked at before: the same look, nothing spent again."""


def spend_alpha(alpha: float, number: int) -> float:
    """Return the share of `alpha` of the look with this number: alpha · 6 / (π² · number²).

    The shares of endlessly many looks sum to alpha, so all looks at one test set together publish
    a model that is no better with at most this probability.

    >>> round(spend_alpha(0.025, 1), 5), round(spend_alpha(0.025, 2), 5)
    (0.0152, 0.0038)

    Source: the inverse-square sequence of "alpha-spending" in Foster and Stine 2008, after
    Σ 1/k² = π²/6.
    """
    assert number >= 1
    return alpha * 6 / (math.pi**2 * number**2)


def describe_look(alpha: float, number: int, *, repeated: bool) -> Look:
    """Return the look with this number under the gate's `alpha`."""
    spent = sum(spend_alpha(alpha, k) for k in range(1, number + 1))
    return Look(number, spend_alpha(alpha, number), max(0.0, alpha - spent), repeated)


def find_ledger(model_name: str, test_digest: str) -> Path:
    """Return the file that records the looks at this test set for this model name."""
    return find_home() / "artifacts" / "looks" / model_name / f"{test_digest[:16]}.json"


def read_candidates(ledger: Path, test_digest: str) -> list[str]:
    """Return the digests of the candidates looked at so far, in order."""
    if not ledger.is_file():
        return []
    content: dict[str, Any] = read_json(ledger)
    assert content["schema_version"] == SCHEMA_VERSION, f"{ledger}: written by another version"
    assert content["test_digest"] == test_digest, f"{ledger}: is about another test set"
    return [str(digest) for digest in content["candidates"]]


def preview_look(model_name: str, test_digest: str, *, alpha: float) -> Look:
    """Return which look the next new candidate would be, without recording it."""
    number = len(read_candidates(find_ledger(model_name, test_digest), test_digest)) + 1
    return describe_look(alpha, number, repeated=False)


def record_look(model_name: str, test_digest: str, candidate_digest: str, *, alpha: float) -> Look:
    """Record that the gate looks at the test set for a candidate, before it does.

    The look counts from here on, even if the process dies before the verdict is seen.

    Args:
        model_name: The name that the candidate would be published under.
        test_digest: Digest of the test split; a renewed test set starts afresh.
        candidate_digest: Digest of the candidate; the same one again is the same look.
        alpha: The gate's error rate over all looks.
    """
    ledger = find_ledger(model_name, test_digest)
    with hold_lock(ledger.with_suffix(".lock"), f"the looks of {model_name}"):
        candidates = read_candidates(ledger, test_digest)
        if candidate_digest in candidates:
            return describe_look(alpha, candidates.index(candidate_digest) + 1, repeated=True)
        candidates.append(candidate_digest)
        content = {
            "schema_version": SCHEMA_VERSION,
            "model_name": model_name,
            "test_digest": test_digest,
            "candidates": candidates,
        }
        write_json(ledger, content)
        return describe_look(alpha, len(candidates), repeated=False)
