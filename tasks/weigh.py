"""Weigh whether a retraining is worth it: what changed since the champion's data, and how much."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.errors import HoneError
from configs.retraining import RetrainRules
from configs.schema import RunConfig
from tasks.diff import DataDiff, compare_versions
from tasks.publishing.candidates import ChampionRecord
from tasks.publishing.registry import find_champion, note_on_version
from tasks.records.digests import digest_value
from tasks.records.handles import DataVersion, Record, Verdict
from tasks.records.home import find_home
from tasks.records.writing import read_json, write_json
from tasks.versioning.comparison import list_stored, name_version

LOG = logging.getLogger("hone")
SKIPPED_TAG = "hone.retraining_skipped"


class Attempt(Record):
    """The last retraining of a model; `HONE_HOME/retraining/NAME.json`."""

    started: datetime
    data_digest: str
    config_digest: str
    verdict: Verdict | None = None
    """None where it did not come to a decision."""


class RetrainChoice(Record):
    """Whether to train, and why."""

    is_worth_it: bool
    reason: str
    new_rows: int | None = None
    """Rows added or changed since the champion's data; None where they were not counted."""
    removed_rows: int | None = None


@task(name="weigh", cache_policy=NO_CACHE)
def weigh(
    data: DataVersion, config: RunConfig, rules: RetrainRules, num_rows: int, rival: str = ""
) -> RetrainChoice:
    """Decide whether a retraining is worth it, and record a skip with its reason.

    Args:
        data: The data as it is now.
        config: What would be trained.
        rules: What must have changed.
        num_rows: The rows of the data.
        rival: What trains the same model at this moment; empty where nothing does.
    """
    champion = find_champion(config.publish.name)
    choice = choose(champion, data, config, rules, num_rows, rival)
    word = "training" if choice.is_worth_it else "skipped"
    LOG.info("retrain: %s: %s", word, choice.reason)
    create_markdown_artifact(f"**{word}**: {choice.reason}", key="retraining")
    if champion and not choice.is_worth_it:
        said = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}: {choice.reason}"
        note_on_version(champion.name, champion.version, SKIPPED_TAG, said)
    return choice


def choose(
    champion: ChampionRecord | None,
    data: DataVersion,
    config: RunConfig,
    rules: RetrainRules,
    num_rows: int,
    rival: str = "",
) -> RetrainChoice:
    """Apply the rules, the cheapest first.

    Args:
        champion: What is published now; None where nothing is.
        data: The data as it is now.
        config: What would be trained.
        rules: What must have changed.
        num_rows: The rows of the data.
        rival: What trains the same model at this moment; empty where nothing does.
    """
    last = read_attempt(config.publish.name)
    is_same = last is not None and is_attempt_at(last, data, config)
    if reason := rival or find_wait(last, rules, is_same) or find_repeat(last, is_same):
        return RetrainChoice(is_worth_it=False, reason=reason)
    if champion is None:
        return RetrainChoice(
            is_worth_it=True, reason=f"nothing is published as {config.publish.name} yet"
        )
    if champion.lineage is None:
        return RetrainChoice(
            is_worth_it=False,
            reason=f"no decision can be made against the champion: {champion.problem}",
        )
    before = name_version(champion.lineage.data_source, champion.lineage.data_commit)
    if is_same_data(champion, data):
        return RetrainChoice(
            is_worth_it=False, reason=f"the data is that of the champion: {before}"
        )
    try:
        diff = compare_versions(before, name_version(data.source, data.commit), config.data)
    except HoneError as err:
        return RetrainChoice(
            is_worth_it=True, reason=f"the champion's data cannot be compared with: {err}"
        )
    return apply_rules(diff, rules, num_rows)


def apply_rules(diff: DataDiff, rules: RetrainRules, num_rows: int) -> RetrainChoice:
    """Return what the rules say of a difference.

    Args:
        diff: Between the champion's data and today's.
        rules: What must have changed.
        num_rows: The rows of today's data.
    """
    new_rows = diff.added + diff.changed
    fraction = (new_rows + diff.removed) / max(1, num_rows)
    is_enough = new_rows >= rules.min_new_rows or (
        rules.min_changed_fraction is not None and fraction >= rules.min_changed_fraction
    )
    asked = f"at least {rules.min_new_rows} new ones"
    if rules.min_changed_fraction is not None:
        asked += f" or {rules.min_changed_fraction:.1%} changed"
    return RetrainChoice(
        is_worth_it=is_enough,
        reason=f"{diff.added} rows added, {diff.changed} changed, {diff.removed} removed since "
        f"{diff.first}, {fraction:.1%} of {num_rows}; asked: {asked}",
        new_rows=new_rows,
        removed_rows=diff.removed,
    )


def is_attempt_at(attempt: Attempt, data: DataVersion, config: RunConfig) -> bool:
    """Return whether an attempt was at this data with this configuration."""
    return (attempt.data_digest, attempt.config_digest) == (data.digest, digest_config(config))


def find_wait(last: Attempt | None, rules: RetrainRules, is_same: bool) -> str:
    """Return why it is too early, or an empty string.

    An attempt that was cut off goes on from its checkpoint at once.
    """
    if last is None or (is_same and last.verdict is None):
        return ""
    allowed = last.started + timedelta(hours=rules.min_hours_between)
    if datetime.now(UTC) >= allowed:
        return ""
    return (
        f"the last retraining began at {last.started:%Y-%m-%d %H:%M} UTC, the next may from "
        f"{allowed:%Y-%m-%d %H:%M} UTC (min_hours_between: {rules.min_hours_between:g})"
    )


def find_repeat(last: Attempt | None, is_same: bool) -> str:
    """Return how the same data ended under the same configuration, or an empty string."""
    if last is None or not is_same or last.verdict is None:
        return ""
    return (
        f"the same data was trained on at {last.started:%Y-%m-%d %H:%M} UTC by the same "
        f"configuration: {last.verdict}"
    )


def is_same_data(champion: ChampionRecord, data: DataVersion) -> bool:
    """Return whether the champion was trained on these very bytes; commits may differ."""
    assert champion.lineage is not None
    lineage = champion.lineage
    stored = {
        version.digest
        for version in list_stored()
        if (version.source, version.commit) == (lineage.data_source, lineage.data_commit)
    }
    before = name_version(lineage.data_source, lineage.data_commit)
    return name_version(data.source, data.commit) == before or data.digest in stored


def begin_attempt(data: DataVersion, config: RunConfig) -> Attempt:
    """Record that a retraining begins."""
    attempt = Attempt(
        started=datetime.now(UTC), data_digest=data.digest, config_digest=digest_config(config)
    )
    _write_attempt(config.publish.name, attempt)
    return attempt


def end_attempt(attempt: Attempt, name: str, verdict: Verdict | None) -> None:
    """Record how a retraining ended."""
    _write_attempt(name, attempt.model_copy(update={"verdict": verdict}))


def read_attempt(name: str) -> Attempt | None:
    """Return the last retraining of a model, or None."""
    file = find_home() / "retraining" / f"{name}.json"
    return Attempt.model_validate(read_json(file)) if file.is_file() else None


def digest_config(config: RunConfig) -> str:
    """Return the digest of a configuration without where its data lies.

    What the data is, its own digest says; a run that a hook starts names each commit anew.
    """
    return digest_value(config.model_dump(mode="json", exclude={"data": {"source"}}))


def _write_attempt(name: str, attempt: Attempt) -> None:
    write_json(find_home() / "retraining" / f"{name}.json", attempt.model_dump(mode="json"))
