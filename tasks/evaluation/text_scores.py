"""Scores of one answer against the right one, each in [0, 1]: equality and overlap of words."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from typing import Any

from tasks.evaluation.bleu import split_tokens

ARTICLES = re.compile(r"\b(a|an|the)\b")


def score_exact_match(prediction: str, reference: str) -> float:
    """Return 1 where both texts are equal once surrounding whitespace is stripped, else 0.

    >>> score_exact_match(" -5 ", "-5"), score_exact_match("5", "-5")
    (1.0, 0.0)
    """
    return float(prediction.strip() == reference.strip())


def normalise_answer(text: str) -> str:
    """Return a text in small letters, without punctuation, English articles and repeated spaces.

    >>> normalise_answer("The  answer: -5!")
    'answer 5'

    Source: SQuAD's evaluation script (Rajpurkar et al. 2016), here for all of Unicode (NFKC).
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    plain = "".join(c for c in folded if not unicodedata.category(c).startswith("P"))
    return " ".join(ARTICLES.sub(" ", plain).split())


def score_normalised_match(prediction: str, reference: str) -> float:
    """Return 1 where both texts are equal after `normalise_answer`, else 0.

    For prose: signs and punctuation are ignored, which in code and numbers carry meaning.

    >>> score_normalised_match("The Eiffel Tower.", "eiffel tower")
    1.0
    """
    return float(normalise_answer(prediction) == normalise_answer(reference))


def score_token_f1(prediction: str, reference: str) -> float:
    """Return 2 · common / (answer + reference), counted in words and marks, repeated ones too.

    Case is kept and marks count, unlike in SQuAD's F1; 1 for two empty texts.

    >>> score_token_f1("a b b", "a b c")
    0.6666666666666666

    Source: Rajpurkar et al. 2016, on the tokens of `split_tokens`.
    """
    found, wanted = Counter(split_tokens(prediction)), Counter(split_tokens(reference))
    total = found.total() + wanted.total()
    return 2 * (found & wanted).total() / total if total else 1.0


def score_jaccard(prediction: str, reference: str) -> float:
    """Return common tokens / all tokens of the two sets of words and marks; 1 for two empty texts.

    >>> score_jaccard("a b", "b c")
    0.3333333333333333

    Source: Jaccard 1912, on the tokens of `split_tokens`.
    """
    found, wanted = set(split_tokens(prediction)), set(split_tokens(reference))
    return len(found & wanted) / len(found | wanted) if found | wanted else 1.0


@functools.cache
def load_rouge_scorer() -> Any:
    """Return the scorer of the three ROUGE variants, without stemming."""
    from rouge_score.rouge_scorer import RougeScorer  # import costs a second

    return RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)


def score_rouge(prediction: str, reference: str) -> dict[str, float]:
    """Return ROUGE-1, ROUGE-2 (n-gram overlap) and ROUGE-L (longest common subsequence), each F1.

    F1 = 2PR / (P + R), where P and R are the common n-grams (or the length of the longest common
    subsequence) over those of the answer and of the reference. Case, punctuation and signs are
    ignored ("-5" equals "5"): for code-like answers `exact_match` decides.

    Source: Lin 2004; Google's `rouge_score`, without stemming.
    """
    scores = load_rouge_scorer().score(reference, prediction)
    return {name: float(score.fmeasure) for name, score in scores.items()}
