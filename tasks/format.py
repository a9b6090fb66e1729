"""Turn raw rows into rendered, masked, tokenised splits with a ledger of every row."""

from __future__ import annotations

import logging
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.errors import RequestError
from configs.schema import RunConfig
from tasks.observe import TaskObserver
from tasks.records.digests import digest_code, digest_file, digest_value, find_versions
from tasks.records.entries import reuse_or_build
from tasks.records.handles import DataVersion, FormattedData
from tasks.records.home import find_home, resolve_in_project
from tasks.records.observer import Observer
from tasks.versioning.base_models import locate_base

LOG = logging.getLogger("hone")


@task(name="format", cache_policy=NO_CACHE)
def format_rows(data: DataVersion, config: RunConfig) -> FormattedData:
    """Read, check, split, render, mask and tokenise the rows; account for every one."""
    with TaskObserver("format") as observer:
        handle = format_version(data, config, observer)
    check_gate(handle, config)
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
        "settings": config.data.model_dump(mode="json", exclude={"source", "eval_sources"}),
        "template": digest_template(template),
        "max_length": config.training.max_length,
        "assistant_only_loss": config.training.assistant_only_loss,
        "primary_metrics": config.gate.primary_metrics,
        "code": digest_code("tasks.formatting"),
        "versions": find_versions("transformers", "tokenizers", "datasets"),
    }
    handle = reuse_or_build(
        "format", key, FormattedData, lambda entry: _build(data, config, template, observer, entry)
    )
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
    if missing := set(formatted.primary_metrics) - set(config.evaluation.metrics):
        raise RequestError(
            message=f"{', '.join(sorted(missing))} decides on this data and is not computed",
            where="evaluation.metrics",
            hint="add it, or name other metrics in gate.primary_metrics",
        )


def find_template(chat_template: str | None) -> str | None:
    """Return a template file's place on this machine; a built-in template's name is kept."""
    if chat_template and chat_template.endswith(".jinja"):
        return str(resolve_in_project(chat_template))
    return chat_template


def digest_template(template: str | None) -> str | None:
    """Return what names a template: a file's digest, or a built-in's name (its text is code)."""
    is_file = template is not None and Path(template).is_file()
    return digest_file(Path(template)) if template and is_file else template


def _build(
    data: DataVersion, config: RunConfig, template: str | None, observer: Observer, entry: Path
) -> FormattedData:
    from tasks.formatting.build import format_data

    result = format_data(
        data.folder,
        entry,
        data=config.data,
        tokenizer=locate_base(data.base),
        chat_template=template,
        max_length=config.training.max_length,
        assistant_only_loss=config.training.assistant_only_loss,
        primary_metrics=config.gate.primary_metrics,
        observer=observer,
    )
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
