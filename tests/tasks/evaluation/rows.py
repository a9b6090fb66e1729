"""Builds predictions for tests of what reads them."""

from typing import Any

from tasks.evaluation.predictions import Prediction


def make_row(number: int, *, exact: float = 0.0, **changes: Any) -> Prediction:
    values: dict[str, Any] = {
        "id": f"id{number}",
        "group": f"g{number}",
        "origin": f"test.jsonl:{number}",
        "fields": {"kind": "write" if number % 2 else "explain"},
        "prompt": f"question {number}",
        "prompt_digest": f"prompt {number}",
        "reference": f"answer {number}",
        "prediction": f"answer {number}" if exact else f"wrong {number}",
        "ended": True,
        "num_new_tokens": 4,
        "nll_sum": 2.0 + number % 7,
        "num_tokens": 5 + number % 3,
        "num_bytes": 10,
        "scores": {"exact_match": exact},
    }
    return Prediction(**(values | changes))


def make_rows(exact: list[float], **changes: Any) -> list[Prediction]:
    return [make_row(number, exact=value, **changes) for number, value in enumerate(exact)]
