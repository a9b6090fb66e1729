"""The format stage: from the pinned files of a data version to everything that training reads."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from configs.errors import RequestError
from configs.schema import DataConfig
from tasks.formatting.examples import write_examples
from tasks.formatting.intake import read_sources
from tasks.formatting.ledger import (
    TRAIN,
    LedgerEntry,
    check_invalid_rows,
    count_rows,
    list_problems,
    write_ledger,
)
from tasks.formatting.overlap import filter_duplicates, resolve_overlap
from tasks.formatting.preview import write_preview
from tasks.formatting.primary import choose_primary_metrics
from tasks.formatting.rendering import load_renderer
from tasks.formatting.report import write_report
from tasks.formatting.splits import SplitPlan, assign_split, plan_splits
from tasks.formatting.tokenizing import Split, collect_splits, save_tokens, tokenize_rows
from tasks.records.handles import Kind, RowCounts, SplitRecord
from tasks.records.observer import Observer, SilentObserver
from tasks.records.writing import write_text

LOG = logging.getLogger("hone")


@dataclass(frozen=True)
class FormatResult:
    """What the format stage made."""

    kind: Kind
    rows: RowCounts
    splits: dict[str, SplitRecord]
    template_digest: str
    primary_metrics: tuple[str, ...]


def format_data(
    source: Path,
    out: Path,
    *,
    data: DataConfig,
    tokenizer: Path | str,
    chat_template: str | None,
    max_length: int,
    assistant_only_loss: bool,
    primary_metrics: Sequence[str] | None = None,
    observer: Observer | None = None,
) -> FormatResult:
    """Read, check, split, render, mask and tokenise the rows; account for every one.

    `out` gets `examples/<split>.jsonl`, `tokens/<split>/`, `tokenizer/`, `ledger.jsonl`,
    `ledger.json`, `preview.md` and `data_report.md`.

    Args:
        source: Pinned files: `train/...` and, for each evaluation set, `eval/<name>/...`.
        out: The folder to fill.
        data: How rows are read, cleaned and split.
        tokenizer: The base model, or another place with its tokenizer.
        chat_template: A built-in template's name or a file; None for the tokenizer's own.
        max_length: Longest row in tokens.
        assistant_only_loss: Whether only assistant turns are trained on.
        primary_metrics: The metrics that decide; None to choose them from the data.
        observer: Hears of the progress.

    Raises:
        RequestError: The data or the template cannot be used as configured; nothing is written.
    """
    intake = read_sources(source, data)
    check_invalid_rows(intake.entries, data.max_invalid_fraction)
    sets = {entry.source for entry in intake.entries} - {TRAIN}
    entries = place_rows(intake.entries, data, plan_splits(data, sets))
    renderer = load_renderer(tokenizer, chat_template, intake.kind)
    rows = tokenize_rows(
        entries,
        renderer,
        max_length=max_length,
        overlong=data.overlong,
        assistant_only_loss=assistant_only_loss,
        observer=observer or SilentObserver(),
    )
    entries = [row.entry for row in rows]
    check_invalid_rows(entries, data.max_invalid_fraction)
    splits = collect_splits(rows)
    check_splits(splits, entries, data, sets)
    deciding = splits.get("test", Split((), ())).examples
    primary = tuple(primary_metrics or choose_primary_metrics(deciding, intake.kind))

    write_splits(out, splits)
    write_ledger(out, entries)
    renderer.save(out / "tokenizer")
    report = write_report(
        entries, splits, intake=intake, renderer=renderer, data=data, primary_metrics=primary
    )
    write_text(out / "data_report.md", report)
    write_text(out / "preview.md", write_preview(splits, renderer))
    records = {name: split.summarise() for name, split in splits.items()}
    return FormatResult(intake.kind, count_rows(entries), records, renderer.digest, primary)


def place_rows(
    entries: Sequence[LedgerEntry], data: DataConfig, plan: SplitPlan
) -> list[LedgerEntry]:
    """Filter repeated rows and give each kept row its split.

    Raises:
        RequestError: Training prompts or groups stand in an evaluation set, and that is an error.
    """
    if data.duplicates == "filter":
        entries = filter_duplicates(entries)
    entries = resolve_overlap(entries, data.overlap)
    placed = [_place_row(entry, plan) for entry in entries]
    # Groups by data.group_by may share a prompt: then it must not stand on both sides either.
    return resolve_overlap(placed, data.overlap)


def check_splits(
    splits: dict[str, Split], entries: Sequence[LedgerEntry], data: DataConfig, sets: set[str]
) -> None:
    """Check that every split that was asked for holds rows.

    Raises:
        RequestError: No training row is left, an evaluation set is empty, or no group fell to the
            test split.
    """
    for name in (TRAIN, *sorted(sets)):
        mine = [entry for entry in entries if entry.source == name]
        if not any(entry.outcome == "kept" for entry in mine):
            raise RequestError(
                where="data.source",
                message=f"all {len(mine)} rows of {name} were dropped",
                allowed="at least one row that is kept",
                problems=list_problems(mine, "invalid") + list_problems(mine, "filtered"),
            )
    wanted = {TRAIN} | ({"test"} if data.test_fraction else set())
    if missing := sorted(wanted - set(splits)):
        raise RequestError(
            where="data.source",
            message=f"too few groups of rows: none fell to {' and '.join(missing)}",
            hint="bring more rows, an evaluation set eval/test.jsonl, or set data.test_fraction",
        )
    if data.validation_fraction and "validation" not in splits:
        LOG.warning("no group of rows fell to validation: too few for data.validation_fraction")


def write_splits(out: Path, splits: dict[str, Split]) -> None:
    """Write the examples and the tokens of every split."""
    for name, split in splits.items():
        write_examples(out / "examples" / f"{name}.jsonl", split.examples)
        save_tokens(out / "tokens" / name, split)


def _place_row(entry: LedgerEntry, plan: SplitPlan) -> LedgerEntry:
    if entry.outcome != "kept" or not entry.example:
        return entry
    if entry.source != TRAIN:
        return replace(entry, split=entry.source)
    return replace(entry, split=assign_split(entry.example.group, plan))
