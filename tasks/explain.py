"""Tell what a model was made from: version, decision, evaluation, run, data, code."""

from __future__ import annotations

import re
from typing import Any

from tasks.publishing.candidates import Lineage
from tasks.records.environment import Environment
from tasks.records.handles import (
    DataVersion,
    Decision,
    Evaluation,
    FormattedData,
    PinnedModel,
    PreparedData,
    Publication,
    Record,
    TrainedModel,
)
from tasks.records.home import find_home
from tasks.records.results import Handles, read_handles
from tasks.trace import Trace, trace_model
from tasks.versioning.origins import DataOrigin, trace_data

REVISION_TAG = "hone.code_revision"
REVISION = re.compile(r"(?P<commit>[0-9a-f]{7,64})(?P<dirty>-dirty\.[0-9a-f]+)?")


class RunFacts(Record):
    """The run that trained a model."""

    name: str
    path: str | None
    """The run folder, relative to HONE_HOME where it lies in it; None where it is not here."""
    mlflow_run_id: str | None
    trained: TrainedModel | None


class EvaluationFacts(Record):
    """How one arm did."""

    digest: str | None
    """SHA-256 of its answers: what the decision is bound to."""
    model_digest: str | None
    template_digest: str | None
    metrics: dict[str, dict[str, float]]
    """By split and name."""


class CodeFacts(Record):
    """The code behind a run."""

    revision: str | None
    """As it was recorded."""
    commit: str | None
    """The git commit in it; None where the clone had none."""
    is_dirty: bool | None
    """Whether the clone's code was another than that commit's; None where it is not known."""
    versions: dict[str, str]
    """Installed versions of the libraries that the published model needs."""


class Explanation(Record):
    """The chain from a model back to its data and code; None where a link is not known."""

    model: str
    version: Publication | None
    aliases: tuple[str, ...]
    """What points at the version now."""
    lineage: Lineage | None
    decision: Decision | None
    evaluations: dict[str, EvaluationFacts]
    """By arm."""
    run: RunFacts
    config: dict[str, Any] | None
    formatted: FormattedData | None
    prepared: PreparedData | None
    data: DataOrigin | None
    base: PinnedModel | None
    template_digest: str | None
    files: dict[str, str]
    """SHA-256 of each file of the trained model."""
    training: dict[str, Any]
    """What determined the training."""
    memory_setting: dict[str, Any]
    """What was chosen for the memory that was free."""
    code: CodeFacts
    environment: Environment | None
    problems: tuple[str, ...]
    """What could not be found out, and why."""


def explain(model: str) -> Explanation:
    """Return the lineage chain of a model, from MLflow; folders add what that lacks.

    Args:
        model: The name of a published model, `models:/NAME@ALIAS`, a version's folder, a run folder
            or what lies in it, or the name of a run.

    Raises:
        RequestError: There is no such model, or it is not one that hone made.
        RunError: The registry does not answer.
    """
    trace = trace_model(model)
    version, record = trace.version, trace.record
    handles = read_handles(record.handles) if record else {}
    known = Handles(handles)
    lineage = version.lineage if version else None
    decision = (version.decision if version else None) or known.find("decide", Decision)
    trained = known.find("train", TrainedModel)
    made = lineage or trained
    data = _trace_data(trace, lineage, known.find("version", DataVersion))
    found = Explanation(
        model=model,
        version=version.publication if version else None,
        aliases=version.aliases if version else (),
        lineage=lineage,
        decision=decision,
        evaluations=_collect_evaluations(trace, known, decision),
        run=RunFacts(
            name=trace.run,
            path=_name_place(trace),
            mlflow_run_id=trace.run_id,
            trained=trained,
        ),
        config=(record.config if record else None) or (version.config if version else None),
        formatted=known.find("format", FormattedData),
        prepared=known.find("prepare", PreparedData),
        data=data,
        base=made.base if made else None,
        template_digest=made.template_digest if made else None,
        files=_list_files(trace, lineage),
        training=record.training if record else {},
        memory_setting=record.memory_setting if record else {},
        code=_read_code(trace, lineage),
        environment=record.environment if record else None,
        problems=tuple(trace.problems),
    )
    return found.model_copy(update={"problems": (*found.problems, *list_gaps(found))})


def list_gaps(found: Explanation) -> list[str]:
    """Return the links that are not known, in words."""
    trained = found.run.trained is not None
    links = {
        "the decision": found.decision is not None or found.version is None,
        "the data": found.data is not None,
        "the formatted data and its row counts": found.formatted is not None,
        "the training": trained,
        "the configuration": found.config is not None,
        "the code revision": found.code.revision is not None,
        "python, packages and device": found.environment is not None or not trained,
    }
    gaps = [f"not recorded: {link}" for link, is_known in links.items() if not is_known]
    return gaps + ([found.data.problem] if found.data and found.data.problem else [])


def _name_place(trace: Trace) -> str | None:
    if trace.folder is None:
        return None
    home = find_home()
    is_inside = trace.folder.is_relative_to(home)
    return (trace.folder.relative_to(home) if is_inside else trace.folder).as_posix()


def _collect_evaluations(
    trace: Trace, handles: Handles, decision: Decision | None
) -> dict[str, EvaluationFacts]:
    """Return the arms: as the run kept them, else the version's figures with bound digests."""
    metrics = trace.version.metrics if trace.version else {}
    evidence = decision.evidence if decision else {}
    found = {}
    for arm in ("baseline", "finetuned", "champion"):
        evaluation = handles.find(f"evaluate-{arm}", Evaluation)
        if evaluation is None and arm not in metrics:
            continue
        found[arm] = EvaluationFacts(
            digest=evaluation.digest if evaluation else evidence.get(f"predictions/{arm}"),
            model_digest=evaluation.model_digest if evaluation else None,
            template_digest=evaluation.template_digest if evaluation else None,
            metrics=evaluation.metrics if evaluation else metrics[arm],
        )
    return found


def _list_files(trace: Trace, lineage: Lineage | None) -> dict[str, str]:
    """Return the digests of the trained model's files, without what publishing added."""
    if trace.record and trace.record.model_files:
        return trace.record.model_files
    published = trace.version.files if trace.version else {}
    return {n: d for n, d in published.items() if lineage and n in lineage.model_files}


def _read_code(trace: Trace, lineage: Lineage | None) -> CodeFacts:
    recorded = trace.record.code_revision if trace.record else ""
    revision = (lineage.code_revision if lineage else "") or recorded
    revision = revision or trace.tags.get(REVISION_TAG, "")
    match = REVISION.fullmatch(revision)
    return CodeFacts(
        revision=revision or None,
        commit=match["commit"] if match else None,
        is_dirty=bool(match["dirty"]) if match else True if revision else None,
        versions=lineage.versions if lineage else {},
    )


def _trace_data(
    trace: Trace, lineage: Lineage | None, data: DataVersion | None
) -> DataOrigin | None:
    recorded = trace.record.data_files if trace.record else {}
    if data:
        return trace_data(data.source, data.commit, data.digest, recorded)
    if lineage:
        return trace_data(lineage.data_source, lineage.data_commit, None, recorded)
    return None
