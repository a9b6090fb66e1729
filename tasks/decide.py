"""Decide whether the candidate is proven better than the baseline and the champion."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from configs.schema import RunConfig
from tasks.evaluation.looks import Look, record_look
from tasks.formatting.rows.examples import digest_questions, read_examples
from tasks.publishing.candidates import ChampionRecord, digest_evidence
from tasks.publishing.local import read_training_prompts
from tasks.records.digests import digest_code, digest_value, find_versions
from tasks.records.entries import reuse_or_build
from tasks.records.handles import Arm, Decision, Evaluation, FormattedData, TrainedModel
from tasks.records.home import find_home, resolve_in_home
from tasks.records.runs import RunFolder
from tasks.records.stage_fields import name_fields
from tasks.records.writing import write_json

LOG = logging.getLogger("hone")


def take_look(config: RunConfig, formatted: FormattedData, trained: TrainedModel) -> Look:
    """Record that a candidate is about to be measured on the test set: it counts from here on."""
    test = read_examples(formatted.folder / "examples" / "test.jsonl")
    return record_look(
        config.publish.name, digest_questions(test), trained.digest, alpha=config.gate.alpha
    )


@task(name="decide", cache_policy=NO_CACHE)
def decide(
    trained: TrainedModel,
    formatted: FormattedData,
    evaluations: Mapping[Arm, Evaluation],
    config: RunConfig,
    run: RunFolder,
    champion: ChampionRecord | None,
    look: Look,
) -> Decision:
    """Apply the gate's rule to the arms' predictions."""
    about = {
        "model_name": config.publish.name,
        "candidate_digest": trained.digest,
        "champion_version": champion.version if champion else None,
        "evidence": digest_evidence(list_evidence(trained, formatted, evaluations, run)),
        "look": look.number,
        "alpha": look.alpha,
    }
    decision = _decide(about, formatted, evaluations, config, champion)
    LOG.info(
        "decide: %s (look %d, alpha %.4f): %s",
        decision.verdict, look.number, look.alpha, " ".join(decision.reasons),
        extra=name_fields(
            "decide", verdict=decision.verdict, look=look.number, alpha=look.alpha,
            digest=decision.digest, reused=decision.reused,
        ),
    )  # fmt: skip
    _show(decision)
    return decision


def _decide(
    about: dict[str, Any],
    formatted: FormattedData,
    evaluations: Mapping[Arm, Evaluation],
    config: RunConfig,
    champion: ChampionRecord | None,
) -> Decision:
    unavailable = find_unavailable(champion, evaluations)
    champion_prompts = find_training_prompts(champion, evaluations)
    key = about | {
        "gate": config.gate.model_dump(mode="json"),
        "primary_metrics": formatted.primary_metrics,
        "champion": [unavailable, digest_value(sorted(champion_prompts))],
        "code": digest_code("tasks.evaluation"),
        "versions": find_versions("numpy", "scipy"),
    }
    return reuse_or_build(
        "decide",
        key,
        Decision,
        lambda entry: _build(
            formatted, evaluations, config, about, unavailable, champion_prompts, entry
        ),
    )


def list_evidence(
    trained: TrainedModel,
    formatted: FormattedData,
    evaluations: Mapping[Arm, Evaluation],
    run: RunFolder,
) -> dict[str, Path]:
    """Return the files and folders that a decision is bound to, by what they are."""
    return {
        "config": run.folder / "config.yaml",
        "data": formatted.folder / "examples",
        "model": trained.model_folder,
        **{f"predictions/{arm}": e.folder / "predictions" for arm, e in evaluations.items()},
    }


def find_unavailable(
    champion: ChampionRecord | None, evaluations: Mapping[Arm, Evaluation]
) -> dict[Arm, str]:
    """Return the opponents that ought to be compared with and could not be, and why."""
    if champion is None or "champion" in evaluations:
        return {}
    return {"champion": champion.problem or "it could not be evaluated; see the log"}


def find_training_prompts(
    champion: ChampionRecord | None, evaluations: Mapping[Arm, Evaluation]
) -> frozenset[str]:
    """Return the digests of the prompts that the champion was trained on: no fair test of it."""
    if champion is None or "champion" not in evaluations:
        return frozenset()
    return read_training_prompts(resolve_in_home(champion.path))


def _build(
    formatted: FormattedData,
    evaluations: Mapping[Arm, Evaluation],
    config: RunConfig,
    about: dict[str, Any],
    unavailable: Mapping[Arm, str],
    champion_prompts: frozenset[str],
    entry: Path,
) -> Decision:
    from tasks.evaluation import gate
    from tasks.evaluation.predictions import read_splits

    result = gate.decide(
        {
            arm: gate.ArmEvidence(read_splits(e.folder), e.template_digest)
            for arm, e in evaluations.items()
        },
        primary_metrics=formatted.primary_metrics,
        gate=config.gate,
        alpha=about["alpha"],
        champion_prompts=champion_prompts,
        unavailable=unavailable,
    )
    content = {
        **about,
        "verdict": result.verdict,
        "reasons": list(result.reasons),
        "checks": [check.model_dump(mode="json") for check in result.checks],
        "smallest_detectable_gain": result.smallest_detectable_gain,
    }
    write_json(entry / "decision.json", content)
    return Decision.model_validate(
        content
        | {"path": entry.relative_to(find_home()).as_posix(), "digest": digest_value(content)}
    )


def _show(decision: Decision) -> None:
    reasons = "\n".join(f"- {reason}" for reason in decision.reasons)
    create_markdown_artifact(f"# {decision.verdict}\n\n{reasons}\n", key="decision")
    columns = ("opponent", "split", "metric", "role", "candidate", "opponent_value",
               "improvement", "lower", "upper", "threshold", "passed", "note")  # fmt: skip
    rows = [{name: getattr(check, name) for name in columns} for check in decision.checks]
    create_table_artifact(rows, key="checks", description="The checks behind the verdict")
