"""Look at data as a run would read it, without a run: every row is accounted for, none refused."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import RequestError
from configs.schema import RunConfig
from tasks.format import LIBRARIES, NOT_FORMATTING, digest_template, find_template
from tasks.formatting.ledger import AllDroppedError
from tasks.records.digests import digest_code, digest_value, find_versions
from tasks.records.entries import reuse_or_build
from tasks.records.handles import DataVersion, Handle, RowCounts
from tasks.records.home import find_home
from tasks.records.observer import Observer
from tasks.version import pin_inputs
from tasks.versioning.base_models import locate_base

if TYPE_CHECKING:
    from tasks.formatting.inspection.near_report import NearRows
    from tasks.formatting.splits.assignments import Assignments

ANY_LENGTH = 1_000_000  # tokens: nothing is cut or left out for its length
PLOT = "lengths.png"
KEPT_FILES = (
    "ledger.json",
    "ledger.jsonl",
    "data_report.md",
    "preview.md",
    "inspection.json",
    PLOT,
)


class InspectedData(Handle):
    """What was seen: figures in `inspection.json`, a page, a preview, a plot and the ledger."""

    source: str
    commit: str
    base: str
    format: str
    """The format of the rows; several are joined by commas."""
    formats: dict[str, str]
    """By file."""
    rows: RowCounts
    refusal: str = ""
    """Why there is nothing to see but the ledger: no row of a source is kept."""


def inspect_rows(config: RunConfig, by: str, observer: Observer) -> InspectedData:
    """Read, check, split and tokenise rows as a run would, and describe them.

    Broken rows and leaks are reported rather than refused, and rows that are too long are kept
    where a run would stop. Where no row of a source is kept, the ledger alone is there to be seen.
    Rows have the splits that earlier runs gave them, and no new split is
    stored: looking changes nothing.

    Args:
        config: The data, the base model whose tokenizer counts, and the settings of the run.
        by: The field whose balance is shown.
        observer: Hears of the progress.

    Raises:
        RequestError: The source or the base model is missing, or no row can be read.
    """
    from tasks.formatting.splits.stored_splits import find_store

    data = pin_inputs(config.data, config.model)
    splits = find_store(data.source, config.data.split_version)
    relaxed = relax_checks(config)
    template = find_template(config.model.chat_template)
    key = {
        "data": data.digest,
        "source": [data.source, data.commit],
        "base": data.base.revision,
        "settings": relaxed.data.model_dump(mode="json", exclude=NOT_FORMATTING),
        "template": digest_template(template),
        "max_length": [config.training.max_length, relaxed.training.max_length],
        "assistant_only_loss": config.training.assistant_only_loss,
        "primary_metrics": config.gate.primary_metrics,
        "by": by,
        "assignments": splits.digest(),
        "code": digest_code("tasks.formatting", "tasks.inspect"),
        "versions": find_versions(*LIBRARIES, "matplotlib"),
    }
    look = _Look(data, config, relaxed, template, splits.read(), by, observer)
    return reuse_or_build(
        "inspect",
        key,
        InspectedData,
        lambda entry: _build(look, entry),
        keep_partial=True,  # an interrupted look goes on where it was
    )


def relax_checks(config: RunConfig) -> RunConfig:
    """Return the settings under which nothing is refused that can be reported."""
    data = config.data.model_copy(
        update={
            "max_invalid_fraction": 1.0,
            "overlap": "filter",
            "pii": "report" if config.data.pii == "off" else config.data.pii,
        }
    )
    update = {"max_length": ANY_LENGTH} if data.overlong == "error" else {}
    training = config.training.model_copy(update=update)
    return config.model_copy(update={"data": data, "training": training})


@dataclass(frozen=True)
class _Look:
    """What is looked at, and how."""

    data: DataVersion
    config: RunConfig
    """As asked for."""
    relaxed: RunConfig
    """Under which nothing is refused that can be reported."""
    template: str | None
    stored: Assignments
    by: str
    observer: Observer


def _build(look: _Look, entry: Path) -> InspectedData:
    formatted = entry / "formatted"
    refusal = ""
    try:
        rows, remarks = _format(look, formatted)
        _describe(look, formatted, remarks)
    except AllDroppedError as err:
        rows, refusal = _describe_dropped(formatted, err), err.message
    for name in KEPT_FILES:
        if (formatted / name).exists():
            (formatted / name).rename(entry / name)
    shutil.rmtree(formatted)  # examples and tokens are as large as the data
    return _make_handle(look, entry, rows, refusal)


def _describe(look: _Look, formatted: Path, remarks: tuple[str, ...]) -> None:
    from tasks.formatting.inspection.length_plot import draw_lengths
    from tasks.formatting.inspection.lengths import read_lengths
    from tasks.formatting.inspection.page import add_inspection

    near, unknown = _look_for_near_rows(formatted, look.config.data.near_duplicate_threshold)
    max_length, remarks = look.config.training.max_length, (*remarks, *unknown)
    add_inspection(formatted, max_length=max_length, by=look.by, near=near, remarks=remarks)
    draw_lengths(formatted / PLOT, read_lengths(formatted), max_length=max_length)


def _describe_dropped(formatted: Path, err: AllDroppedError) -> RowCounts:
    from tasks.formatting.inspection.dropped_rows import add_dropped_rows

    return RowCounts(**add_dropped_rows(formatted, err.message).rows)


def _make_handle(look: _Look, entry: Path, rows: RowCounts, refusal: str) -> InspectedData:
    from tasks.formatting.files.file_formats import find_formats

    formats = find_formats(look.data.folder, look.config.data)
    return InspectedData(
        path=entry.relative_to(find_home()).as_posix(),
        digest=digest_value((entry / "inspection.json").read_text(encoding="utf-8")),
        source=look.data.source,
        commit=look.data.commit,
        base=look.data.base.name,
        format=", ".join(sorted(set(formats.values()))),
        formats=formats,
        rows=rows,
        refusal=refusal,
    )


def _look_for_near_rows(
    formatted: Path, threshold: float
) -> tuple[NearRows | None, tuple[str, ...]]:
    from tasks.formatting.inspection.lengths import list_splits
    from tasks.formatting.inspection.near_report import count_near_rows

    try:
        return count_near_rows(formatted, list_splits(formatted), threshold), ()
    except RequestError as err:
        return None, (err.message,)


def _format(look: _Look, out: Path) -> tuple[RowCounts, tuple[str, ...]]:
    """Format the data; where nothing can be split off, all of it is training data.

    Returns:
        The counts of the rows, and what a run would be refused for.
    """
    config = look.relaxed
    try:
        return _call_format(look, config, out), ()
    except AllDroppedError:
        raise
    except RequestError as err:
        if not (config.data.validation_fraction or config.data.test_fraction):
            raise
        refusal = err
    shutil.rmtree(out, ignore_errors=True)
    unsplit = {"validation_fraction": 0.0, "test_fraction": 0.0}
    whole = config.model_copy(update={"data": config.data.model_copy(update=unsplit)})
    return _call_format(look, whole, out), (f"a run would be refused: {refusal.message}",)


def _call_format(look: _Look, config: RunConfig, out: Path) -> RowCounts:
    from tasks.formatting.build import format_data

    result = format_data(
        look.data.folder,
        out,
        data=config.data,
        tokenizer=locate_base(look.data.base),
        chat_template=look.template,
        max_length=config.training.max_length,
        assistant_only_loss=config.training.assistant_only_loss,
        primary_metrics=config.gate.primary_metrics,
        assignments=look.stored,
        observer=look.observer,
    )
    return result.rows
