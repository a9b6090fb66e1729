"""Warnings about data that can be trained on, and perhaps should not be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.formatting.inspection.findings import NEAR_KEPT, NO_VALUE, OVERLAPS, Inspection
from tasks.formatting.ledger import TRAIN

MIN_ROWS = 50
MAX_LENGTH_RATIO = 10  # longest row to the median one
MAX_CLASS_SHARE = 0.9
MAX_DUPLICATE_SHARE = 0.1
MIN_TRAINED_FRACTION = 0.05
MIN_TEST_ROWS = 50
PII = "pii_"  # the findings that are about personal data and keys


def find_warnings(inspection: Inspection, *, max_length: int) -> tuple[str, ...]:
    """Return what a careful engineer would look into before training, one sentence each.

    Args:
        inspection: What the data hold.
        max_length: Longest row of a training, in tokens (`training.max_length`).
    """
    return (
        *_warn_of_losses(inspection),
        *_warn_of_sizes(inspection),
        *_warn_of_lengths(inspection, max_length),
        *_warn_of_content(inspection),
    )


def _warn_of_losses(inspection: Inspection) -> Iterator[str]:
    rows = inspection.rows
    if rows["invalid"]:
        yield (
            f"{rows['invalid']:,} of {rows['read']:,} rows are invalid: a run stops above the "
            "share data.max_invalid_fraction"
        )
    if overlapping := _count_leaks(inspection, OVERLAPS):
        yield (
            f"{sum(overlapping.values()):,} training rows have a prompt or group of an evaluation "
            f"set ({', '.join(overlapping)}): a run stops, or leaves them out with data.overlap: "
            "filter"
        )
    if near := _count_leaks(inspection, (NEAR_KEPT,)):
        yield (
            f"{sum(near.values()):,} training rows are nearly held-out ones ({', '.join(near)}): "
            "data.near_duplicates: filter leaves them out"
        )
    repeated = sum(inspection.duplicates.values())
    if repeated > MAX_DUPLICATE_SHARE * rows["read"]:
        yield f"{repeated / rows['read']:.0%} of the rows repeat another one"
    personal = [
        f"{kind.removeprefix(PII)} in {count:,} rows"
        for kind, count in inspection.findings.items()
        if kind.startswith(PII)
    ]
    if personal:
        yield f"personal data or keys: {', '.join(personal)}; data.pii: mask takes them out"


def _count_leaks(inspection: Inspection, reasons: Sequence[str]) -> dict[str, int]:
    counts = {
        name: sum(found.get(reason, 0) for reason in reasons)
        for name, found in inspection.leakage.items()
    }
    return {name: count for name, count in counts.items() if count}


def _warn_of_sizes(inspection: Inspection) -> Iterator[str]:
    num_train = inspection.splits.get(TRAIN, 0)
    if num_train < MIN_ROWS:
        yield f"{num_train} training rows: fewer than {MIN_ROWS} teach a model very little"
    if not inspection.evaluation_sets:
        yield (
            "the source brings no evaluation set: test rows are split off the training rows "
            "(data.test_fraction); a set eval/test.jsonl of its own says more"
        )
    num_test = inspection.splits.get("test", 0)
    if 0 < num_test < MIN_TEST_ROWS:
        yield f"{num_test} test rows: only a large improvement can be told from noise"


def _warn_of_lengths(inspection: Inspection, max_length: int) -> Iterator[str]:
    for split, tokens in inspection.lengths["tokens"].items():
        if tokens.longest > max_length:
            yield (
                f"{split}: the longest row has {tokens.longest:,} tokens, training.max_length is "
                f"{max_length:,}"
            )
        if tokens.longest > MAX_LENGTH_RATIO * tokens.median:
            yield (
                f"{split}: the longest row has {tokens.longest:,} tokens, "
                f"{tokens.longest / tokens.median:.0f} times the median of {tokens.median:,}"
            )
    if inspection.trained_fraction < MIN_TRAINED_FRACTION:
        yield (
            f"{inspection.trained_fraction:.1%} of the training tokens are trained on: most of the "
            "work is spent on reading prompts"
        )


def _warn_of_content(inspection: Inspection) -> Iterator[str]:
    if inspection.untrained_turns:
        yield (
            f"{inspection.untrained_turns:,} assistant turns are not trained on: the chat template "
            "changes them as the conversation goes on; model.chat_template names another one"
        )
    if inspection.num_empty_system_turns:
        yield f"{inspection.num_empty_system_turns:,} system turns are empty"
    classes = {
        value: counts.get(TRAIN, 0)
        for value, counts in inspection.balance.items()
        if value != NO_VALUE
    }
    total = sum(classes.values())
    for value, count in classes.items():
        if len(classes) > 1 and count > MAX_CLASS_SHARE * total:
            yield f"{count / total:.0%} of the training rows have {inspection.by} = {value}"
