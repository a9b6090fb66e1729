"""The format stage: from the pinned files of a data version to everything that training reads.

Three passes: rows are read, checked and written to shards; a few columns of all rows are compared
in memory; what is kept is rendered, tokenised and written. Only the second knows all rows at once.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.errors import RequestError
from configs.schema import DataConfig
from tasks.formatting.intake.chunks import CHUNK_BYTES
from tasks.formatting.intake.data_intake import Intake, read_sources
from tasks.formatting.ledger import (
    TRAIN,
    AllDroppedError,
    Tally,
    check_invalid_rows,
    count_rows,
    list_problems,
    write_counts,
)
from tasks.formatting.parallel import count_processes, run_jobs
from tasks.formatting.primary import choose_primary_metrics
from tasks.formatting.rendering.preview import write_preview
from tasks.formatting.rendering.renderer import Renderer, load_renderer
from tasks.formatting.report import write_report
from tasks.formatting.rows.examples import iter_examples
from tasks.formatting.splits.assignments import Assignments, start_assignments, write_assignments
from tasks.formatting.splits.placing import PlacedRows, place_intake
from tasks.formatting.splits.stored_splits import ASSIGNMENTS
from tasks.formatting.tokens.assembly import assemble_splits, join_files
from tasks.formatting.tokens.part_files import LEDGER
from tasks.formatting.tokens.token_parts import (
    PartJob,
    PartSummary,
    RendererPlace,
    write_part,
    write_part_alone,
)
from tasks.formatting.tokens.tokenizing import TokenSettings, check_overlong
from tasks.records.handles import Kind, RowCounts, SplitRecord
from tasks.records.observer import Observer, SilentObserver
from tasks.records.writing import write_text

LOG = logging.getLogger("hone")
WORK = "work"


@dataclass(frozen=True)
class FormatResult:
    """What the format stage made."""

    kind: Kind
    rows: RowCounts
    splits: dict[str, SplitRecord]
    template_digest: str
    primary_metrics: tuple[str, ...]


@dataclass(frozen=True)
class Workload:
    """How the work is cut up; the result does not depend on it."""

    chunk_bytes: int = CHUNK_BYTES
    """About how much a job reads."""
    num_processes: int | None = None
    """Jobs at a time; None for what suits the machine and the data."""


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
    assignments: Assignments | None = None,
    observer: Observer | None = None,
    workload: Workload | None = None,
) -> FormatResult:
    """Read, check, split, render, mask and tokenise the rows; account for every one.

    `out` gets `examples/<split>.jsonl`, `tokens/<split>/`, `tokenizer/`, `ledger.jsonl`,
    `ledger.json`, `preview.md`, `data_report.md` and `assignments.parquet` (the splits given so
    far, those of this data included). An attempt that was interrupted leaves `work/` there, and
    the next one goes on from it.

    Args:
        source: Pinned files: `train/...` and, for each evaluation set, `eval/<name>/...`.
        out: The folder to fill.
        data: How rows are read, cleaned and split.
        tokenizer: The base model, or another place with its tokenizer.
        chat_template: A built-in template's name or a file; None for the tokenizer's own.
        max_length: Longest row in tokens.
        assistant_only_loss: Whether only assistant turns are trained on.
        primary_metrics: The metrics that decide; None to choose them from the data.
        assignments: The splits given to earlier rows of this source; None for none.
        observer: Hears of the progress.
        workload: How the work is cut up.

    Raises:
        AllDroppedError: No row of a source is kept; only the ledger is written.
        RequestError: The data or the template cannot be used as configured; nothing is written.
    """
    _clear_results(out)
    try:
        result = _build(
            source, out,
            data=data,
            settings=TokenSettings(max_length, data.overlong, assistant_only_loss),
            place=(tokenizer, chat_template),
            primary_metrics=primary_metrics,
            stored=assignments or start_assignments(data.split_version),
            observer=observer or SilentObserver(),
            workload=workload or Workload(),
        )  # fmt: skip
    except RequestError:
        shutil.rmtree(out / WORK, ignore_errors=True)
        if out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        raise
    shutil.rmtree(out / WORK)
    return result


def _build(
    source: Path,
    out: Path,
    *,
    data: DataConfig,
    settings: TokenSettings,
    place: tuple[Path | str, str | None],
    primary_metrics: Sequence[str] | None,
    stored: Assignments,
    observer: Observer,
    workload: Workload,
) -> FormatResult:
    intake = read_sources(
        source, data, out / WORK / "rows", observer,
        chunk_bytes=workload.chunk_bytes, num_processes=workload.num_processes,
    )  # fmt: skip
    check_invalid_rows(intake.tally, data.max_invalid_fraction)
    placed = place_intake(intake, data, stored, out / WORK)
    renderer = load_renderer(*place, intake.kind)
    finder = RendererPlace(*place, intake.kind, renderer.digest)
    jobs = list_jobs(placed, finder, settings, out / WORK / "parts")
    num_processes = workload.num_processes or count_processes(len(jobs), intake.num_bytes)
    summary = tokenize_parts(jobs, renderer, observer, num_processes)
    check_overlong(summary.tally, settings)
    check_invalid_rows(summary.tally, data.max_invalid_fraction)
    try:
        check_splits(summary.tally, data, intake)
    except AllDroppedError:
        join_files([job.folder / LEDGER for job in jobs], out / LEDGER)
        write_counts(out / "ledger.json", summary.tally, intake.sightings.findings)
        raise

    splits = assemble_splits([job.folder for job in jobs], out)
    test = out / "examples" / "test.jsonl"
    examples = iter_examples(test) if test.is_file() else ()
    primary = tuple(primary_metrics or choose_primary_metrics(examples, intake.kind))
    write_counts(out / "ledger.json", summary.tally, intake.sightings.findings)
    renderer.save(out / "tokenizer")
    report = write_report(summary, splits, intake=intake, data=data, primary_metrics=primary)
    write_text(out / "data_report.md", report)
    write_text(out / "preview.md", write_preview(summary.previews.choose(), renderer))
    write_assignments(out / ASSIGNMENTS, placed.placement.assignments)
    records = {name: figures.record for name, figures in splits.items()}
    return FormatResult(intake.kind, count_rows(summary.tally), records, renderer.digest, primary)


def list_jobs(
    placed: PlacedRows, renderer: RendererPlace, settings: TokenSettings, folder: Path
) -> list[PartJob]:
    """Return what is to be tokenised, a job for each shard."""
    return [
        PartJob(
            shard=shard.path,
            shard_key=shard.key,
            folder=folder / shard.path.stem,
            source=shard.source,
            files={
                i: placed.intake.files[i] for i in set(placed.columns.file[shard.rows].tolist())
            },
            splits=placed.placement.splits,
            split=placed.placement.split[shard.rows],
            repeats=placed.repeats[shard.rows],
            filtered=placed.list_filtered(shard),
            settings=settings,
            renderer=renderer,
        )
        for shard in placed.intake.shards
    ]


def tokenize_parts(
    jobs: Sequence[PartJob], renderer: Renderer, observer: Observer, num_processes: int
) -> PartSummary:
    """Tokenise every shard; return what all of them hold together."""
    total, done = sum(len(job.split) for job in jobs), 0
    result = PartSummary(key="")
    for job, summary in zip(jobs, _run_parts(jobs, renderer, num_processes), strict=True):
        result.merge(summary)
        done += len(job.split)
        observer.report_progress(done, total, "rows")
    return result


def _run_parts(
    jobs: Sequence[PartJob], renderer: Renderer, num_processes: int
) -> Iterator[PartSummary]:
    if num_processes == 1:
        return (write_part(job, renderer) for job in jobs)
    return run_jobs(write_part_alone, jobs, num_processes)


def check_splits(tally: Tally, data: DataConfig, intake: Intake) -> None:
    """Check that every split that was asked for holds rows.

    Raises:
        AllDroppedError: No row of the training rows or of an evaluation set is left.
        RequestError: No group fell to the training or the test split.
    """
    for name in intake.sources:
        mine = [(end, count) for (source, end, _), count in tally.counts.items() if source == name]
        if not any(end == "kept" for end, _ in mine):
            raise AllDroppedError(
                where="data.source",
                message=f"all {sum(count for _, count in mine)} rows of {name} were dropped",
                allowed="at least one row that is kept",
                problems=list_problems(tally, "invalid", source=name)
                + list_problems(tally, "filtered", source=name),
            )
    wanted = {TRAIN} | ({"test"} if data.test_fraction else set())
    if missing := sorted(name for name in wanted if not tally.splits[name]):
        raise RequestError(
            where="data.source",
            message=f"too few groups of rows: none fell to {' and '.join(missing)}",
            hint="bring more rows, an evaluation set eval/test.jsonl, or set data.test_fraction; "
            "rows that share a prompt, a group or a near-duplicate are one group",
        )
    if data.validation_fraction and not tally.splits["validation"]:
        LOG.warning("no group of rows fell to validation: too few for data.validation_fraction")


def _clear_results(out: Path) -> None:
    """Remove what an interrupted attempt left, but for its finished work."""
    if out.is_dir():
        for path in out.iterdir():
            if path.name != WORK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
