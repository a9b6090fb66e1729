"""Examples as a reader of the report sees them: won, lost and worst ones, texts side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tasks.evaluation.changes import Change, Changes, compute_token_nll
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.tables import ARM_TITLES
from tasks.evaluation.worst import rank_worst
from tasks.records.handles import Arm

EXAMPLES_SHOWN = 3
MAX_CHARACTERS = 600


def escape_text(text: str) -> str:
    r"""Return a text for a line of Markdown in which it means nothing but itself.

    >>> print(escape_text("a_b*.jsonl:3"))
    a\_b\*.jsonl:3
    """
    return re.sub(r"([\\`*_\[\]<>|&!#])", r"\\\1", " ".join(text.split()))


def quote_text(text: str) -> str:
    """Return a text in a fence that it cannot close; what is left out of a long one is said."""
    if len(text) > MAX_CHARACTERS:
        text = f"{text[:MAX_CHARACTERS]} [and {len(text) - MAX_CHARACTERS} more characters]"
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def render_texts(texts: Mapping[str, str]) -> list[str]:
    """Return texts one after the other, each under its label; a page puts them side by side."""
    return [part for label, text in texts.items() for part in (f"{label}:", quote_text(text))]


def render_change(change: Change, opponent: Arm) -> str:
    """Return one example with both answers."""
    row = change.candidate
    answers = {
        ARM_TITLES[opponent]: change.opponent.prediction,
        ARM_TITLES["finetuned"]: row.prediction,
    }
    heading = f"**{escape_text(row.origin)}** ({change.gain:+.3g})"
    return "\n\n".join([heading, *render_texts(describe_row(row, answers))])


def describe_row(row: Prediction, answers: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of a row by label: prompt, right answer and answers given, or its text."""
    if not row.prompt:
        return {"Text": row.reference}
    return {"Prompt": row.prompt, "Right answer": row.reference, **answers}


def render_worst(rows: Sequence[Prediction], split: str) -> str:
    """Return the examples that the candidate does worst on."""
    worst = rank_worst(rows)
    if not worst:
        return f"## Worst examples\n\nEvery answer on {split} is right."
    shown = worst[:EXAMPLES_SHOWN]
    about = (
        f"{len(worst)} of {len(rows)} on {split} are not right; these are the {len(shown)} whose "
        "right answer surprises the fine-tuned model most."
    )
    parts = ["## Worst examples", about]
    for row in shown:
        nll = f"{compute_token_nll(row):.3g} nats per token" if row.num_tokens else "no NLL"
        parts.append(f"**{escape_text(row.origin)}** ({nll})")
        parts += render_texts(describe_row(row, {ARM_TITLES["finetuned"]: row.prediction}))
    return "\n\n".join(parts)


def render_changes(changes: Changes, opponent: Arm, split: str) -> str:
    """Return how many examples were won and lost, and some of each side by side."""
    parts = [
        f"### {split}, against the {opponent}",
        f"{len(changes.won)} won, {len(changes.lost)} lost, {len(changes.unchanged)} unchanged.",
    ]
    for title, rows in (("Lost", changes.lost), ("Won", changes.won)):
        if rows:
            parts.append(f"#### {title} ({min(EXAMPLES_SHOWN, len(rows))} of {len(rows)})")
            parts += [render_change(change, opponent) for change in rows[:EXAMPLES_SHOWN]]
    return "\n\n".join(parts)
