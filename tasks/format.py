"""Turn raw rows into rendered, masked, tokenised splits with a ledger of every row."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.errors import RequestError
from configs.schema import RunConfig
from tasks.observe import TaskObserver
from tasks.records.digests import digest_code, digest_file, digest_value, find_versions
from tasks.records.entries import find_entry, read_entry, reuse_or_build
from tasks.records.handles import DataVersion, FormattedData
from tasks.records.home import find_home, resolve_in_project
from tasks.records.locks import hold_lock
from tasks.records.observer import Observer
from tasks.versioning.base_models import locate_base

if TYPE_CHECKING:
    from tasks.formatting.splits.assignments import Assignments

LOG = logging.getLogger("hone")
NOT_FORMATTING = {"source", "eval_sources", "keep_prepared"}
"""Fields of `data` that say where the data lies, not how it is formatted."""
LIBRARIES = (
    "transformers", "tokenizers", "jinja2", "datasets", "pyarrow", "orjson", "numpy", "rensa",
)  # fmt: skip
"""Libraries that what is formatted may depend on."""


@task(name="format", cache_policy=NO_CACHE)
def format_rows(data: DataVersion, config: RunConfig) -> FormattedData:
    """Read, check, split, render, mask and tokenise the rows; account for every one."""
    with TaskObserver("format") as observer:
        handle = format_version(data, config, observer)
    check_gate(handle, config)
    check_objective(handle, config)
    report = (handle.folder / "data_report.md").read_text(encoding="utf-8")
    preview = (handle.folder / "preview.md").read_text(encoding="utf-8")
    create_markdown_artifact(f"{report}\n\n{preview}", key="data-report")
    return handle


def format_version(data: DataVersion, config: RunConfig, observer: Observer) -> FormattedData:
    """Do what `format` does, without Prefect."""
    template = find_template(config.model.chat_template)
    key = {
        "data": data.digest,
        "base": data.base.revision,
        "settings": config.data.model_dump(mode="json", exclude=NOT_FORMATTING),
        "template": digest_template(template),
        "max_length": config.training.max_length,
        "assistant_only_loss": config.training.assistant_only_loss,
        "primary_metrics": config.gate.primary_metrics,
        "code": digest_code("tasks.formatting"),
        "versions": find_versions(*LIBRARIES),
    }
    handle = _reuse_or_format(data, config, key, template, observer)
    rows = handle.rows
    LOG.info(
        "format: %d rows read = %d kept + %d invalid + %d filtered, %d cut; splits %s%s",
        rows.read, rows.kept, rows.invalid, rows.filtered, rows.cut,
        ", ".join(f"{name} {split.rows}" for name, split in handle.splits.items()),
        " (from the cache)" if handle.reused else "",
    )  # fmt: skip
    return handle


def check_gate(formatted: FormattedData, config: RunConfig) -> None:
    """Refuse data and settings on which no decision could be made, before anything is trained.

    Raises:
        RequestError: There is no test split, or the metrics that decide are not computed.
    """
    if "test" not in formatted.splits:
        raise RequestError(
            message="there is no test split, so no model could be proven better",
            where="data.test_fraction",
            allowed="an evaluation set eval/test.*, data.eval_sources.test, or a share above 0",
        )
    if missing := set(formatted.primary_metrics) - set(config.evaluation.metric_names):
        raise RequestError(
            message=f"{', '.join(sorted(missing))} decides on this data and is not computed",
            where="evaluation.metrics",
            hint="add it, or name other metrics in gate.primary_metrics",
        )
    check_guards(formatted, config)


def check_guards(formatted: FormattedData, config: RunConfig) -> None:
    """Refuse guards of sets, slices and metrics that the data do not have.

    Raises:
        RequestError: Naming the guard and what there is.
    """
    from tasks.evaluation.guards import find_gap
    from tasks.formatting.rows.examples import read_examples

    evaluated = sorted(set(formatted.splits) - {"train", "validation"})
    for number, guard in enumerate(config.gate.guards):
        where = f"gate.guards[{number}]"
        if guard.split not in evaluated:
            raise RequestError(
                where=f"{where}.split",
                message=f"there is no evaluation set {guard.split!r}",
                allowed=", ".join(evaluated),
            )
        if formatted.kind == "text" and guard.metric not in {"nll", "perplexity"}:
            raise RequestError(
                where=f"{where}.metric",
                message=f"text rows have no answers, so no {guard.metric}",
                allowed="nll, perplexity",
            )
        if guard.slice:
            path = formatted.folder / "examples" / f"{guard.split}.jsonl"
            rows = [example.fields for example in read_examples(path)]
            if gap := find_gap(guard.slice, rows):
                raise RequestError(where=f"{where}.slice", message=gap[0], allowed=gap[1])


def check_objective(formatted: FormattedData, config: RunConfig) -> None:
    """Refuse rows that the objective cannot learn from, before anything is evaluated or trained.

    Raises:
        RequestError: Naming the rows without a rejected answer, or without a label.
    """
    objective = config.training.objective
    if objective == "sft":
        return
    from tasks.formatting.rows.examples import read_examples
    from tasks.training.objectives.answers import check_judged

    for split in ("train", "validation"):
        if split in formatted.splits:
            path = formatted.folder / "examples" / f"{split}.jsonl"
            check_judged(read_examples(path), objective)


def find_template(chat_template: str | None) -> str | None:
    """Return a template file's place on this machine; a built-in template's name is kept."""
    if chat_template and chat_template.endswith(".jinja"):
        return str(resolve_in_project(chat_template))
    return chat_template


def digest_template(template: str | None) -> str | None:
    """Return what names a template: a file's digest, or a built-in's name (its text is code)."""
    is_file = template is not None and Path(template).is_file()
    return digest_file(Path(template)) if template and is_file else template


def _reuse_or_format(
    data: DataVersion,
    config: RunConfig,
    key: dict[str, Any],
    template: str | None,
    observer: Observer,
) -> FormattedData:
    """Return the result that this request had before, or format with the splits given so far."""
    from tasks.formatting.splits.stored_splits import ASSIGNMENTS, find_store

    store, request = find_store(data.source, config.data.split_version), digest_value(key)
    if (known := store.recall(request)) is not None:
        entry = find_entry("format", {**key, "assignments": known})
        if found := read_entry(entry, FormattedData):
            return found
    with hold_lock(store.lock, f"the splits of {data.source}"):
        current = store.digest()
        handle = reuse_or_build(
            "format", {**key, "assignments": current}, FormattedData,
            lambda entry: _build(data, config, template, store.read(), observer, entry),
            keep_partial=True,
        )  # fmt: skip
        store.store(request, current, handle.folder / ASSIGNMENTS)
    return handle


def _build(
    data: DataVersion,
    config: RunConfig,
    template: str | None,
    assignments: Assignments,
    observer: Observer,
    entry: Path,
) -> FormattedData:
    from tasks.formatting.build import format_data
    from tasks.formatting.inspection.page import add_inspection

    result = format_data(
        data.folder,
        entry,
        data=config.data,
        tokenizer=locate_base(data.base),
        chat_template=template,
        max_length=config.training.max_length,
        assistant_only_loss=config.training.assistant_only_loss,
        primary_metrics=config.gate.primary_metrics,
        assignments=assignments,
        observer=observer,
    )
    add_inspection(entry, max_length=config.training.max_length)
    splits = {name: split.model_dump() for name, split in result.splits.items()}
    return FormattedData(
        path=entry.relative_to(find_home()).as_posix(),
        digest=digest_value({"splits": splits, "template": result.template_digest}),
        kind=result.kind,
        rows=result.rows,
        splits=result.splits,
        template_digest=result.template_digest,
        primary_metrics=result.primary_metrics,
    )
