"""Rules about the quality of an answer, the same in every language."""

from __future__ import annotations

import json
import re

from configs.schema import QualityRule

MAX_REPEATED_LINES = 0.3  # of the characters of an answer
MIN_LINES = 5
MAX_REPEATED_NGRAMS = 0.8  # an answer that says the same five times over
NGRAM_CHARS = 10
MIN_NGRAMS = 200
FENCE = re.compile(r"\A```[\w-]*\n(.*?)(?:\n```\s*)?\Z", re.DOTALL)
CUT_VALUE = re.compile(r"t|tr|tru|f|fa|fal|fals|n|nu|nul|-|\.|[eE][+-]?|")  # or nothing at all


def find_flaw(rule: QualityRule, answer: str) -> str:
    """Return in words what a rule finds wrong with an answer; empty when it finds nothing."""
    if rule == "repeated_lines":
        share = measure_repeated_lines(answer)
        return f"{share:.0%} of it in repeated lines" if share > MAX_REPEATED_LINES else ""
    if rule == "repeated_ngrams":
        share = measure_repeated_ngrams(answer)
        return f"{share:.0%} of its pieces repeat" if share > MAX_REPEATED_NGRAMS else ""
    return "JSON that ends early" if is_truncated_json(answer) else ""


def measure_repeated_lines(text: str) -> float:
    r"""Return the characters in lines that repeat an earlier one, as a share of all in lines.

    Blank lines and the white space around a line do not count; a text of fewer than five lines
    has none. By characters, so that the closing brackets of code weigh little.

    Source: the duplicate line character fraction of Rae et al., Scaling language models, 2021,
    appendix A.1.1.

    >>> measure_repeated_lines("one\n" * 4 + "six")
    0.6
    """
    lines = [stripped for line in text.splitlines() if (stripped := line.strip())]
    if len(lines) < MIN_LINES:
        return 0.0
    chars = sum(map(len, lines))
    return (chars - sum(map(len, set(lines)))) / chars


def measure_repeated_ngrams(text: str) -> float:
    """Return 1 - (distinct pieces of ten characters) / (all of them); 0 for fewer than 200.

    A text of which one stretch repeats n times over comes to 1 - 1/n.
    """
    number = len(text) - NGRAM_CHARS + 1
    if number < MIN_NGRAMS:
        return 0.0
    return 1 - len({text[n : n + NGRAM_CHARS] for n in range(number)}) / number


def is_truncated_json(text: str) -> bool:
    r"""Return whether a text begins as a JSON object or array and ends before it is complete.

    A fence of a code block around it does not matter. JSON that is wrong in another way, or a text
    that merely begins with a bracket, is not truncated.

    >>> is_truncated_json('{"a": [1, 2'), is_truncated_json("[sic] as written")
    (True, False)
    """
    text = text.strip()
    if fenced := FENCE.match(text):
        text = fenced[1].strip()
    if not text.startswith(("{", "[")):
        return False
    try:
        json.loads(text, strict=False)
    except json.JSONDecodeError as err:
        return (
            bool(CUT_VALUE.fullmatch(text, err.pos))
            or err.msg.startswith("Unterminated")
            or _is_cut_escape(err)
        )
    except RecursionError:  # nested too deeply to be read; not known to end early
        return False
    return False


def _is_cut_escape(error: json.JSONDecodeError) -> bool:
    """Return whether a text ends within an escape: no closing quote comes after it."""
    return "escape" in error.msg and '"' not in error.doc[error.pos :]
