"""Gather fresh rows: those of a source that a published model has not seen, rendered as its own."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.errors import RequestError, RunError
from configs.load import apply_overrides, check_config
from configs.schema import RunConfig
from tasks.format import LIBRARIES, NOT_FORMATTING
from tasks.observe import TaskObserver
from tasks.publishing import local
from tasks.publishing.candidates import ChampionRecord, Lineage
from tasks.publishing.registry import find_champion
from tasks.records.digests import digest_code, digest_file, digest_value, find_versions
from tasks.records.entries import reuse_or_build
from tasks.records.handles import DataVersion, FormattedData, SplitRecord
from tasks.records.home import find_home, resolve_in_home
from tasks.records.observer import Observer
from tasks.records.stage_fields import name_fields
from tasks.records.writing import read_json
from tasks.score import ANY_LENGTH

LOG = logging.getLogger("hone")
FRESH = "fresh"
AS_THEY_COME: dict[str, Any] = {
    "pattern": None, "eval_sources": {}, "validation_fraction": 0.0, "test_fraction": 0.0,
    "duplicates": "keep", "near_duplicates": "off", "min_chars": 0, "max_chars": 0, "quality": (),
    "overlap": "filter",
}  # fmt: skip
"""Fields of `data` by which every row of the source is one to score: no split, no training rule."""


class FreshRows(FormattedData):
    """Rows that a model has not seen, in the one split `fresh`; `rows` counts all of the source."""

    trained: int
    """Rows left out because the model was trained on their prompts."""
    decided: int
    """Rows left out because it was chosen or decided upon by their prompts."""


def require_champion(name: str) -> ChampionRecord:
    """Return the champion that a name has, with its folder.

    Raises:
        RequestError: There is none, or it was published before intervals were kept.
        RunError: Its folder cannot be had.
    """
    champion = find_champion(name)
    if champion is None:
        raise RequestError(
            where="name",
            message=f"nothing is published as {name}",
            allowed="the `publish.name` of a published model",
        )
    where = f"models:/{name}/{champion.version}"
    if champion.problem:
        raise RunError(where=where, message=champion.problem)
    folder = resolve_in_home(champion.path)
    if not (folder / local.INTERVALS).is_file():
        raise RequestError(
            where=where,
            message=f"it was published by an earlier hone, without {local.INTERVALS}",
            hint="the next version that is published has them",
        )
    return champion


def choose_config(champion: ChampionRecord, source: str, overrides: Mapping[str, Any]) -> RunConfig:
    """Return the configuration that a model was published by, for all rows of another source.

    Args:
        champion: The model.
        source: The fresh rows.
        overrides: Values by dotted key that replace those of the publication.

    Raises:
        RequestError: A value is wrong.
    """
    lineage, folder = get_lineage(champion), resolve_in_home(champion.path)
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    config = check_config(yaml.safe_load(text))
    model = (
        {"model_name_or_path": str(folder), "model_revision": None}
        if lineage.method == "full"
        else {"model_revision": lineage.base.revision}  # a folder has none: it is compared
    )
    sections: dict[str, dict[str, Any]] = {
        "data": {**AS_THEY_COME, "source": source},
        "model": model,
        "training": {"max_length": ANY_LENGTH},  # evaluation refuses what no context holds
        "evaluation": {"slice_by": (), "lm_eval_tasks": ()},
    }
    changed = {
        name: getattr(config, name).model_copy(update=update) for name, update in sections.items()
    }
    config = apply_overrides(config.model_copy(update=changed), overrides)
    deciding = {
        name for metrics in read_json(folder / local.INTERVALS).values() for name in metrics
    }
    if missing := deciding - set(config.evaluation.metric_names):
        raise RequestError(
            where="evaluation.metrics",
            message=f"{', '.join(sorted(missing))} decided on the publication and is left out",
            hint="leave the metrics as they were published",
        )
    return config


def get_lineage(champion: ChampionRecord) -> Lineage:
    """Return what a champion that can be loaded was made from."""
    assert champion.lineage is not None, champion.problem
    return champion.lineage


@task(name="gather", cache_policy=NO_CACHE)
def gather(data: DataVersion, champion: ChampionRecord, config: RunConfig) -> FreshRows:
    """Read and check all rows of a source, and leave out those that the champion has seen."""
    check_base(data, get_lineage(champion))
    with TaskObserver("gather") as observer:
        fresh = gather_rows(data, champion, config, observer)
    rows, found = fresh.rows, fresh.splits[FRESH]
    LOG.info(
        "gather: %d rows read = %d kept + %d invalid + %d filtered; %d trained on and %d decided "
        "upon are left out; %d fresh ones in %d groups%s",
        rows.read, rows.kept, rows.invalid, rows.filtered, fresh.trained, fresh.decided,
        found.rows, found.groups, " (from the cache)" if fresh.reused else "",
        extra=name_fields(
            "gather", **rows.model_dump(), trained=fresh.trained, decided=fresh.decided,
            fresh=found.rows, digest=fresh.digest, reused=fresh.reused,
        ),
    )  # fmt: skip
    report = (fresh.folder / "data_report.md").read_text(encoding="utf-8")
    create_markdown_artifact(report, key="data-report")
    return fresh


def check_base(data: DataVersion, lineage: Lineage) -> None:
    """Require that an adapter's base is still the one that it was trained on.

    Raises:
        RequestError: It has changed.
    """
    if lineage.method != "full" and data.base.revision != lineage.base.revision:
        raise RequestError(
            where=f"base {data.base.name}",
            message=f"found {data.base.revision[:12]}, the champion was trained on "
            f"{lineage.base.revision[:12]}",
            hint="bring that version of the base model back",
        )


def gather_rows(
    data: DataVersion, champion: ChampionRecord, config: RunConfig, observer: Observer
) -> FreshRows:
    """Do what `gather` does, without Prefect.

    Raises:
        RequestError: The rows cannot be read, are of another kind, or none of them is fresh.
    """
    folder = resolve_in_home(champion.path)
    key = {
        "data": data.digest,
        "settings": config.data.model_dump(mode="json", exclude=NOT_FORMATTING),
        "template": get_lineage(champion).template_digest,
        "assistant_only_loss": config.training.assistant_only_loss,
        "seen": [
            digest_file(folder / name) for name in (local.TRAINING_PROMPTS, local.DECIDING_PROMPTS)
        ],
        "code": digest_code("tasks.formatting", "tasks.gather"),
        "versions": find_versions(*LIBRARIES),
    }
    return reuse_or_build(
        "gather", key, FreshRows,
        lambda entry: _build(data, folder, get_lineage(champion), config, observer, entry),
    )  # fmt: skip


def _build(
    data: DataVersion,
    folder: Path,
    lineage: Lineage,
    config: RunConfig,
    observer: Observer,
    entry: Path,
) -> FreshRows:
    from tasks.formatting.build import format_data

    # Without the splits that are remembered of a source: these rows may be trained on one day.
    result = format_data(
        data.folder,
        entry,
        data=config.data,
        tokenizer=folder,
        chat_template=None,
        max_length=config.training.max_length,
        assistant_only_loss=config.training.assistant_only_loss,
        primary_metrics=("nll",),  # the version says which decide
        observer=observer,
    )
    if result.kind != lineage.kind:
        raise RequestError(
            where=f"source={data.source}",
            message=f"its rows are {result.kind}, the champion was trained on {lineage.kind}",
            allowed=lineage.kind,
        )
    record, left_out = leave_out(entry, tuple(result.splits), folder)
    if not record.rows:
        raise RequestError(
            where=f"source={data.source}",
            message=f"no row is fresh: the champion was trained on {left_out['trained']} of "
            f"{sum(left_out.values())}, and decided upon by {left_out['decided']}",
            hint="bring labelled rows that it has not seen",
        )
    return FreshRows(
        path=entry.relative_to(find_home()).as_posix(),
        digest=digest_value({"splits": record.digest, "template": result.template_digest}),
        kind=result.kind,
        rows=result.rows,
        splits={FRESH: record},
        template_digest=result.template_digest,
        primary_metrics=(),
        trained=left_out["trained"],
        decided=left_out["decided"],
    )


def leave_out(
    entry: Path, splits: tuple[str, ...], folder: Path
) -> tuple[SplitRecord, Counter[str]]:
    """Write `examples/fresh.jsonl`: the rows of all sets whose prompts a version has not seen.

    A row that stands in two sets is taken once.

    Args:
        entry: The formatted rows.
        splits: Their sets.
        folder: The version's folder.

    Returns:
        What is left, and how many rows were `trained` on and `decided` upon.
    """
    from tasks.formatting.inspection.lengths import read_token_lengths, read_trained_lengths
    from tasks.formatting.rows.examples import (
        Example,
        digest_examples,
        digest_prompt,
        iter_examples,
        write_examples,
    )

    trained, deciding = local.read_training_prompts(folder), local.read_deciding_prompts(folder)
    fresh: dict[str, Example] = {}
    left_out, tokens, trained_tokens = Counter[str](), 0, 0
    for split in splits:
        lengths = read_token_lengths(entry, split), read_trained_lengths(entry, split)
        rows = iter_examples(entry / "examples" / f"{split}.jsonl")
        for example, length, trained_length in zip(rows, *lengths, strict=True):
            prompt = digest_prompt(example.messages, example.text)
            if prompt in trained or prompt in deciding:
                left_out["trained" if prompt in trained else "decided"] += 1
            elif example.id not in fresh:
                fresh[example.id] = example
                tokens, trained_tokens = tokens + int(length), trained_tokens + int(trained_length)
    write_examples(entry / "examples" / f"{FRESH}.jsonl", fresh.values())
    record = SplitRecord(
        rows=len(fresh),
        groups=len({example.group for example in fresh.values()}),
        tokens=tokens,
        trained_tokens=trained_tokens,
        digest=digest_examples(fresh.values()),
    )
    return record, left_out
