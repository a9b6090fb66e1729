"""Publishing by hand, under the run's own gate, and the way back."""

from __future__ import annotations

import logging

from prefect import flow

from configs.errors import RequestError
from configs.schema import TargetName
from flows.environment import prepare_environment
from flows.person import find_person
from flows.results import PublishResult, summarize_publication
from tasks.announce import announce_end
from tasks.approve import wait_for_approval
from tasks.decide import decide, take_look
from tasks.evaluate import evaluate
from tasks.promote import EvaluatedRun, check_complete, open_evaluated
from tasks.publish import choose_delivery, deliver_champion, find_earlier, find_need
from tasks.publish import publish as publish_version
from tasks.publishing.approvals import Approval, is_same, read_approval
from tasks.publishing.delivery import Delivery, check_delivery
from tasks.publishing.registry import ChampionMoved, find_champion
from tasks.publishing.rollback import Rollback
from tasks.records.handles import Decision
from tasks.records.runs import check_home
from tasks.report import close_record, report
from tasks.resolve import release_models
from tasks.rollback import roll_back

MAX_DECISIONS = 3  # how often another publisher may move the champion meanwhile

logging.getLogger("hone").setLevel(logging.INFO)


@flow(name="publish")
def publish(
    run: str,
    decision: str,
    reason: str,
    targets: list[TargetName] | None = None,
    repo: str | None = None,
    public: bool = False,
) -> PublishResult:
    """Publish an evaluated run by hand, or approve one that waits.

    The gate is the run's own: only a decision that says `better` is published, bound to its
    evidence. Where the champion has changed since, the candidate is compared with the new one and
    decided upon again; an approval of the earlier decision does not hold for that one.

    Requires: a HONE_HOME in which the run and its results are.

    Args:
        run: The run folder, such as `outputs/runs/20260101T000000Z-abcdef`, or its name.
        decision: The decision's digest, or its first 12 digits, as the run shows it. Approval of
            other evidence is refused.
        reason: Why it is published; kept with who said so. Empty: nothing is approved, and only
            what needs no approval is published.
        targets: Where it goes, instead of the run's `publish.targets`; a version that is champion
            already is brought there too.
        repo: The repository on the hub, instead of the run's `publish.hub_repo`.
        public: Let everybody see it on the hub, whatever the run's `publish.hub_private` says.
    """
    prepare_environment()
    check_home()
    evaluated = open_evaluated(run)
    check_decision(evaluated, decision)
    section = evaluated.config.publish
    delivery = choose_delivery(section, targets=targets, repo=repo, is_public=public)
    check_delivery(delivery)
    approval = None
    if reason.strip():
        approval = Approval(decision_digest=decision, reason=reason.strip(), who=find_person())
    try:
        publish_evaluated(evaluated, approval, delivery)
    except BaseException:
        close_record(evaluated.run, evaluated.config)
        raise
    finally:
        release_models()
    return summarize_publication(evaluated.run, evaluated.results)


def publish_evaluated(
    evaluated: EvaluatedRun, approval: Approval | None, delivery: Delivery
) -> None:
    """Publish a run's candidate, or leave it waiting; its report and manifest say what it is."""
    config, results, trained = evaluated.config, evaluated.results, evaluated.trained
    if earlier := find_earlier(config.publish.name, trained.digest):
        deliver_champion(earlier.publication, delivery)
        results.note("publish", earlier.publication)
        return
    check_complete(evaluated)
    current = evaluated.decision
    for attempt in range(1, MAX_DECISIONS + 1):
        if current.verdict != "better":
            break
        if (why := find_need(config.publish.name, trained.digest, config.publish)) or approval:
            question = wait_for_approval(evaluated.run, current, why, config, approval)
            approval = read_approval(question)
            if approval is None:
                break
        try:
            arms = results.arms
            published = publish_version(
                current, evaluated.data, evaluated.formatted, trained, arms, config, evaluated.run,
                approval=approval, delivery=delivery,
            )  # fmt: skip
        except ChampionMoved:
            if attempt == MAX_DECISIONS:
                raise
            current = decide_again(evaluated)
            approval = None  # it was given to other evidence
            continue
        results.note("publish", published)
        break
    report(evaluated.run, config, results)
    if results.publication:
        announce_end(config.publish.name, evaluated.run, results)


def decide_again(evaluated: EvaluatedRun) -> Decision:
    """Compare a run's candidate with the champion of now, and decide; it is the same look."""
    config, results = evaluated.config, evaluated.results
    look = take_look(config, evaluated.formatted, evaluated.trained)
    results.forget("evaluate-champion")
    champion = find_champion(config.publish.name)
    if champion and not champion.problem:
        rival = evaluate("champion", champion.reference, evaluated.formatted, config)
        results.note("evaluate-champion", rival)
    arms = results.arms
    decision = decide(
        evaluated.trained, evaluated.formatted, arms, config, evaluated.run, champion, look
    )
    return results.note("decide", decision)


def check_decision(evaluated: EvaluatedRun, named: str) -> None:
    """Refuse a decision that is not the run's: whoever named it has seen other evidence.

    Raises:
        RequestError: It is another one.
    """
    if not is_same(named, evaluated.decision.digest):
        raise RequestError(
            where="decision",
            message=f"{named!r} is not the decision of {evaluated.run.path}, which is "
            f"{evaluated.decision.digest}",
            hint="look at its evidence, and name that one",
        )


@flow(name="rollback")
def rollback(name: str, reason: str, version: str | None = None) -> Rollback:
    """Make an earlier version champion again, with its tokenizer, template and settings.

    It is tested first, in a fresh process, against what it answered when it was published.

    Requires: a HONE_HOME and the model registry in which the model was published.

    Args:
        name: The model's name.
        reason: Why; kept with who said so.
        version: Which version; by default the one that the champion replaced.
    """
    prepare_environment()
    check_home()
    return roll_back(name, version, who=find_person(), reason=reason.strip())
