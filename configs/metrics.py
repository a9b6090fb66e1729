"""Names of metrics: those that are built in, those that a config defines, and what they need."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field

MetricName = Literal[
    "exact_match", "exact_match_normalised", "token_f1", "jaccard", "rouge1", "rouge2", "rougeL",
    "bleu", "chrf", "length_ratio", "stop_rate", "nll", "perplexity",
]  # fmt: skip
DEFAULT_METRICS: tuple[MetricName, ...] = get_args(MetricName)
ASKED_FOR = ("format_valid", "toxicity")  # computed where a key of their own asks for them
SUITE_METRICS = ("acc", "acc_norm", "exact_match")  # of each example of an lm-eval task
UNDECIDED = ("length_ratio",)  # neither more nor less of it is better
METRIC_PATTERN = r"^[A-Za-z][A-Za-z0-9_]*$"
FUNCTION = re.compile(r"(?P<module>[A-Za-z_][\w.]*|.+\.py):(?P<function>[A-Za-z_]\w*)")

MetricReference = MetricName | Annotated[str, Field(pattern=METRIC_PATTERN)]
"""A built-in metric, or one that `evaluation` defines or asks for."""


def check_function(value: str) -> str:
    """Refuse what is no `module:function` or `folder/file.py:function`."""
    if FUNCTION.fullmatch(value) is None:
        raise ValueError(
            f"evaluation.custom_metrics names the function {value!r}; allowed: MODULE:FUNCTION, "
            "or FOLDER/FILE.py:FUNCTION"
        )
    return value


def check_custom_name(name: str) -> str:
    """Refuse a metric's name that is taken, or that is no name."""
    if name in (*DEFAULT_METRICS, *ASKED_FOR, *SUITE_METRICS):
        raise ValueError(f"evaluation.custom_metrics defines {name!r}, which is built in")
    if re.fullmatch(METRIC_PATTERN, name) is None:
        raise ValueError(
            f"evaluation.custom_metrics defines {name!r}; allowed: letters, digits and '_', a "
            "letter first"
        )
    return name


CustomMetricName = Annotated[str, AfterValidator(check_custom_name)]
MetricFunction = Annotated[str, AfterValidator(check_function)]


def check_pattern(value: str | None) -> str | None:
    """Refuse what is no regular expression."""
    try:
        re.compile(value or "")
    except re.error as err:
        raise ValueError(f"evaluation.answer_pattern is no regular expression: {err}") from err
    return value


def check_schema(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse what is no JSON schema."""
    if value:
        from jsonschema import Draft202012Validator, SchemaError

        try:
            Draft202012Validator.check_schema(value)
        except SchemaError as err:
            place = "".join(f"[{part!r}]" for part in err.path)
            raise ValueError(
                f"evaluation.answer_schema{place} is no JSON schema: {err.message}"
            ) from err
    return value


Pattern = Annotated[str | None, AfterValidator(check_pattern)]
JsonSchema = Annotated[dict[str, Any], AfterValidator(check_schema)]


def check_deciding(key: str, wanted: Iterable[str], computed: Iterable[str]) -> None:
    """Refuse metrics that cannot decide: not computed, or without a better direction.

    Args:
        key: The config key that names them.
        wanted: What it names.
        computed: What the evaluation computes.

    Raises:
        ValueError: For pydantic.
    """
    known = list(computed)
    for name in wanted:
        if name in UNDECIDED:
            raise ValueError(f"{key} names {name!r}, of which neither more nor less is better")
        if name in known:
            continue
        if name in DEFAULT_METRICS:
            raise ValueError(f"{key} names {name!r}, which evaluation.metrics leaves out")
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; allowed: {', '.join(known)}"
        raise ValueError(f"{key} names {name!r}, which is not computed{hint}")
