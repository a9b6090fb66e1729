"""Publish a candidate that is proven better, and know what is published already."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.schema import RunConfig
from tasks.decide import list_evidence
from tasks.keep import keep_provenance
from tasks.publishing import local
from tasks.publishing.acceptance_process import FreshProcess
from tasks.publishing.candidates import Candidate
from tasks.publishing.registry import find_published
from tasks.records.handles import (
    Arm,
    DataVersion,
    Decision,
    Evaluation,
    FormattedData,
    Handle,
    Publication,
    TrainedModel,
)
from tasks.records.runs import RunFolder
from tasks.records.stage_fields import name_fields
from tasks.tag import tag_data
from tasks.track import track
from tasks.tracking.revision import find_code_revision

LOG = logging.getLogger("hone")


@dataclass(frozen=True)
class EarlierPublication:
    """What became of this very candidate before."""

    decision: Decision
    publication: Publication


def find_earlier(name: str, candidate_digest: str) -> EarlierPublication | None:
    """Return the decision and publication of a candidate that is a version already."""
    publication = local.find_version(name, candidate_digest) or find_published(
        name, candidate_digest
    )
    if publication is None:
        return None
    decision = local.read_decision(publication.folder)
    tag_data(publication)
    LOG.info(
        "publish: this model is models:/%s/%s already", name, publication.version,
        extra=name_fields("publish", model=name, version=publication.version, reused=True),
    )  # fmt: skip
    return EarlierPublication(decision.model_copy(update={"reused": True}), publication)


@task(name="publish", cache_policy=NO_CACHE)
def publish(
    decision: Decision,
    data: DataVersion,
    formatted: FormattedData,
    trained: TrainedModel,
    evaluations: Mapping[Arm, Evaluation],
    config: RunConfig,
    run: RunFolder,
    prepared: FreshProcess | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> Publication:
    """Prove the artefact in a fresh process, register it, and move the champion's alias last."""
    from tasks.publishing.publish import AcceptanceSettings, publish_candidate

    candidate = describe_candidate(decision, data, formatted, trained, evaluations, config, run)
    settings = AcceptanceSettings(
        num_probes=config.publish.num_probes,
        max_logit_difference=config.publish.max_logit_difference,
        max_new_tokens=config.evaluation.max_new_tokens,
        batch_size=config.evaluation.per_device_eval_batch_size,
    )
    tracked = track(config, run, data)
    keep_provenance(
        tracked, run, config, name_handles(decision, data, formatted, trained, evaluations)
    )
    publication = publish_candidate(candidate, tracked, settings, prepared, meanwhile)
    tag_data(publication)
    card = (publication.folder / "README.md").read_text(encoding="utf-8")
    create_markdown_artifact(card.split("---\n", 2)[-1], key="model-card")
    return publication


def name_handles(
    decision: Decision,
    data: DataVersion,
    formatted: FormattedData,
    trained: TrainedModel,
    evaluations: Mapping[Arm, Evaluation],
) -> dict[str, Handle]:
    """Return what the stages returned, by the names that a run's results have."""
    arms = {f"evaluate-{arm}": evaluation for arm, evaluation in evaluations.items()}
    return {"version": data, "format": formatted, "train": trained, **arms, "decide": decision}


def describe_candidate(
    decision: Decision,
    data: DataVersion,
    formatted: FormattedData,
    trained: TrainedModel,
    evaluations: Mapping[Arm, Evaluation],
    config: RunConfig,
    run: RunFolder,
) -> Candidate:
    """Return the trained model with everything that led to it."""
    return Candidate(
        name=config.publish.name,
        data=data,
        formatted=formatted,
        trained=trained,
        evaluations=evaluations,
        decision=decision,
        evidence=list_evidence(trained, formatted, evaluations, run),
        config=config.model_dump(mode="json"),
        run=run.name,
        code_revision=find_code_revision(),
    )
