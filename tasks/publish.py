"""Publish a candidate that is proven better, and know what is published already."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.errors import RequestError
from configs.schema import PublishConfig, RunConfig, TargetName
from tasks.decide import list_evidence
from tasks.keep import keep_provenance
from tasks.publishing import local
from tasks.publishing.acceptance_process import FreshProcess
from tasks.publishing.approvals import REQUIRED, Approval
from tasks.publishing.candidates import Candidate
from tasks.publishing.delivery import Delivery, deliver, list_missing
from tasks.publishing.registry import find_champion, find_published
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
from tasks.records.locks import hold_lock
from tasks.records.runs import RunFolder
from tasks.records.stage_fields import name_fields
from tasks.tag import tag_data
from tasks.track import track
from tasks.tracking.runs import REVISION_TAG, read_tags

if TYPE_CHECKING:
    from tasks.publishing.publish import AcceptanceSettings

LOG = logging.getLogger("hone")


@dataclass(frozen=True)
class EarlierPublication:
    """What became of this very candidate before."""

    decision: Decision
    publication: Publication


def choose_delivery(
    publish: PublishConfig,
    *,
    targets: Sequence[TargetName] | None = None,
    repo: str | None = None,
    is_public: bool = False,
) -> Delivery:
    """Return where a version goes: where the config says, or where somebody names.

    Args:
        publish: The config's section.
        targets: Those to use instead of the config's.
        repo: The hub's repository instead of the config's.
        is_public: Everybody may see it, whatever the config says.
    """
    return Delivery(
        targets=tuple(targets or publish.targets),
        repo=repo or publish.hub_repo,
        is_private=publish.hub_private and not is_public,
    )


def deliver_champion(publication: Publication, delivery: Delivery) -> None:
    """Bring a version that is published already to targets that it is not at yet.

    Raises:
        RequestError: Another version is champion: the hub's `main` would go backwards.
    """
    if not list_missing(publication.folder, delivery):
        return
    name = publication.name
    with hold_lock(local.find_lock(name), f"the publication of {name}"):
        champion = find_champion(name)
        if champion is None or champion.version != publication.version:
            raise RequestError(
                where=publication.uri,
                message=f"version {champion.version if champion else None} is champion, and only "
                "the champion is brought to other targets",
                hint="`hone rollback NAME --to VERSION` makes another one champion",
            )
        deliver(publication.folder, delivery)


def find_need(name: str, candidate_digest: str, publish: PublishConfig) -> str:
    """Return why somebody has to agree before a candidate is published; empty where nobody has."""
    if taken_back := local.find_rollback(name, candidate_digest):
        return f"the same model was taken back: {taken_back.describe()}"
    return REQUIRED if publish.approval == "required" else ""


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
    approval: Approval | None = None,
    delivery: Delivery | None = None,
) -> Publication:
    """Prove the artefact in a fresh process, register it, and move the champion's alias last."""
    from tasks.publishing.publish import publish_candidate

    tracked = track(config, run, data)
    candidate = describe_candidate(
        decision,
        data,
        formatted,
        trained,
        evaluations,
        config,
        run,
        read_tags(tracked)[REVISION_TAG],
    )
    keep_provenance(
        tracked, run, config, name_handles(decision, data, formatted, trained, evaluations)
    )
    delivery = delivery or choose_delivery(config.publish)
    publication = publish_candidate(
        candidate, tracked, choose_settings(config), prepared, approval, delivery
    )
    tag_data(publication)
    card = (publication.folder / "README.md").read_text(encoding="utf-8")
    create_markdown_artifact(card.split("---\n", 2)[-1], key="model-card")
    return publication


def choose_settings(config: RunConfig) -> AcceptanceSettings:
    """Return how the artefact is compared with the evaluated model."""
    from tasks.publishing.publish import AcceptanceSettings

    return AcceptanceSettings(
        num_probes=config.publish.num_probes,
        max_logit_difference=config.publish.max_logit_difference,
        max_new_tokens=config.evaluation.max_new_tokens,
        batch_size=config.evaluation.per_device_eval_batch_size,
    )


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
    code_revision: str,
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
        code_revision=code_revision,
        intervals=bound_deciding(decision, evaluations["finetuned"]),
    )


def bound_deciding(decision: Decision, evaluation: Evaluation) -> dict[str, Any]:
    """Return the interval of each metric that decided, by split: `monitor` compares with it."""
    from tasks.evaluation.drift import measure
    from tasks.evaluation.predictions import read_predictions

    deciding: dict[str, list[str]] = {}
    for check in decision.checks:
        if check.role == "primary" and check.metric not in deciding.setdefault(check.split, []):
            deciding[check.split].append(check.metric)
    return {
        split: {
            name: interval.model_dump(mode="json")
            for name, interval in measure(
                read_predictions(evaluation.folder / "predictions" / f"{split}.jsonl"), metrics
            ).items()
        }
        for split, metrics in deciding.items()
    }
