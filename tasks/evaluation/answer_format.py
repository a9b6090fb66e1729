"""Whether an answer has the form that was asked for: a pattern, or a JSON schema."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any


def build_format_check(
    pattern: str | None, schema: Mapping[str, Any]
) -> Callable[[str], float] | None:
    r"""Return what scores an answer 1 where it has the asked-for form, else 0.

    Surrounding whitespace does not count. An answer must match the pattern as a whole, and be JSON
    that is an instance of the schema (draft 2020-12), where each is given.

    >>> check = build_format_check(r"-?\d+", {})
    >>> check(" -5\n"), check("5 apples")
    (1.0, 0.0)

    Args:
        pattern: A regular expression.
        schema: A JSON schema; empty for none.

    Returns:
        The check, or None where neither is given.
    """
    if pattern is None and not schema:
        return None
    expression = re.compile(pattern) if pattern is not None else None
    is_instance = _build_schema_check(schema) if schema else None

    def check(answer: str) -> float:
        text = answer.strip()
        is_right = expression is None or expression.fullmatch(text) is not None
        return float(is_right and (is_instance is None or is_instance(text)))

    return check


def _build_schema_check(schema: Mapping[str, Any]) -> Callable[[str], bool]:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(schema)

    def is_instance(text: str) -> bool:
        try:
            value = json.loads(text, parse_constant=_refuse_constant)
        except ValueError:
            return False
        return bool(validator.is_valid(value))

    return is_instance


def _refuse_constant(name: str) -> None:
    """Python reads NaN and Infinity, which are no JSON."""
    raise ValueError(name)
