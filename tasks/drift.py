"""Tell whether a published model has drifted: its score on fresh rows beside the published one."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from configs.monitoring import MonitorRules
from tasks.announce import announce_drift
from tasks.evaluation.drift import (
    DriftVerdict,
    Interval,
    MetricDrift,
    judge,
    judge_metric,
    measure,
)
from tasks.evaluation.predictions import read_predictions
from tasks.gather import FRESH, FreshRows
from tasks.publishing import local
from tasks.publishing.candidates import ChampionRecord
from tasks.publishing.card import name_source
from tasks.publishing.registry import note_on_version
from tasks.records.digests import digest_code, digest_file, digest_value, find_versions
from tasks.records.entries import reuse_or_build
from tasks.records.handles import DataVersion, Evaluation, Handle, RowCounts
from tasks.records.home import find_home, resolve_in_home
from tasks.records.stage_fields import name_fields
from tasks.records.writing import read_json, write_json

LOG = logging.getLogger("hone")
DRIFT_TAG = "hone.drift"
DECIDING_SPLIT = "test"
ANNOUNCED = "announced"  # the file that says that people were told of this finding


class Drift(Handle):
    """What a published model's score on fresh rows says."""

    verdict: DriftVerdict
    name: str
    version: str
    metrics: tuple[MetricDrift, ...]
    """Those that decided on its publication."""
    rows: RowCounts
    """Of the source."""
    trained: int
    """Rows left out because the model was trained on their prompts."""
    decided: int
    """Rows left out because it was chosen or decided upon by their prompts."""
    scored: int

    @property
    def reason(self) -> str:
        """The findings in sentences."""
        return " ".join(finding.describe() for finding in self.metrics)


@task(name="drift", cache_policy=NO_CACHE)
def drift(
    data: DataVersion,
    champion: ChampionRecord,
    fresh: FreshRows,
    evaluation: Evaluation,
    rules: MonitorRules,
) -> Drift:
    """Compare the champion's scores on fresh rows with those it was published with, and tell."""
    found = compare_scores(champion, fresh, evaluation, rules)
    LOG.info(
        "drift: %s/%s on %s: %s: %s%s",
        found.name, found.version, data.source, found.verdict, found.reason,
        " (from the cache)" if found.reused else "",
        extra=name_fields(
            "drift", model=found.name, version=found.version, verdict=found.verdict,
            scored=found.scored, trained=found.trained, decided=found.decided,
            metrics=[finding.model_dump(mode="json") for finding in found.metrics],
            data_commit=data.commit, digest=found.digest, reused=found.reused,
        ),
    )  # fmt: skip
    show_drift(found)
    said = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}: {found.verdict}: {found.reason}"
    note_on_version(found.name, found.version, DRIFT_TAG, said)
    if found.verdict == "drifted" and not (found.folder / ANNOUNCED).is_file():
        announce_drift(
            found.name, found.version, reason=found.reason, source=name_source(data.source),
            num_rows=found.scored,
        )  # fmt: skip
        (found.folder / ANNOUNCED).touch()
    return found


def compare_scores(
    champion: ChampionRecord, fresh: FreshRows, evaluation: Evaluation, rules: MonitorRules
) -> Drift:
    """Return what the scores say, from the cache where they were compared before."""
    folder = resolve_in_home(champion.path)
    key = {
        "champion": [champion.name, champion.version],
        "published": digest_file(folder / local.INTERVALS),
        "fresh": fresh.digest,
        "evaluation": evaluation.digest,
        "left_out": [fresh.rows.model_dump(mode="json"), fresh.trained, fresh.decided],
        "rules": rules.model_dump(mode="json"),
        "code": digest_code("tasks.evaluation", "tasks.drift"),
        "versions": find_versions("numpy"),
    }
    return reuse_or_build(
        "drift", key, Drift,
        lambda entry: _build(champion, fresh, evaluation, rules, entry),
        exclude=(ANNOUNCED,),
    )  # fmt: skip


def read_published(folder: Path) -> dict[str, Interval]:
    """Return the intervals that a version was published with, by the metrics that decided."""
    stored = read_json(folder / local.INTERVALS)[DECIDING_SPLIT]
    return {name: Interval.model_validate(interval) for name, interval in stored.items()}


def _build(
    champion: ChampionRecord,
    fresh: FreshRows,
    evaluation: Evaluation,
    rules: MonitorRules,
    entry: Path,
) -> Drift:
    published = read_published(resolve_in_home(champion.path))
    rows = read_predictions(evaluation.folder / "predictions" / f"{FRESH}.jsonl")
    scores = measure(rows, published)
    metrics = tuple(
        judge_metric(name, interval, scores[name], margin=rules.margin)
        for name, interval in published.items()
    )
    content = {
        "verdict": judge(metrics),
        "name": champion.name,
        "version": champion.version,
        "metrics": [finding.model_dump(mode="json") for finding in metrics],
        "rows": fresh.rows.model_dump(mode="json"),
        "trained": fresh.trained,
        "decided": fresh.decided,
        "scored": len(rows),
    }
    write_json(entry / "drift.json", content)
    path = entry.relative_to(find_home()).as_posix()
    return Drift.model_validate(content | {"path": path, "digest": digest_value(content)})


def show_drift(found: Drift) -> None:
    """Show the finding in the Prefect UI."""
    rows = found.rows
    counts = (
        f"{rows.read} rows read = {rows.kept} kept + {rows.invalid} invalid + {rows.filtered} "
        f"filtered; of those kept {found.trained} were trained on and {found.decided} decided "
        f"upon and left out; {found.scored} were scored."
    )
    findings = "\n".join(f"- {finding.describe()}" for finding in found.metrics)
    title = f"# {found.name}/{found.version}: {found.verdict.replace('_', ' ')}"
    create_markdown_artifact(f"{title}\n\n{findings}\n\n{counts}\n", key="drift")
    create_table_artifact(
        [
            {
                "metric": finding.metric,
                "verdict": finding.verdict,
                **_list_interval("fresh", finding.fresh),
                **_list_interval("published", finding.published),
                "floor": finding.floor,
                "needed_groups": finding.needed_groups,
            }
            for finding in found.metrics
        ],
        key="drift-metrics",
        description="The champion's scores on fresh rows beside those it was published with",
    )


def _list_interval(name: str, interval: Interval) -> dict[str, float | None]:
    return {
        name: interval.value,
        f"{name}_lower": interval.lower,
        f"{name}_upper": interval.upper,
        f"{name}_groups": interval.groups,
    }
