"""The model registry's operations: versions, their tags, aliases and files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import RunError
from tasks.publishing.candidates import Candidate, Lineage
from tasks.records.digests import digest_folder
from tasks.records.handles import Decision
from tasks.tracking.runs import TrackedRun
from tasks.tracking.store import (
    explain_failures,
    find_registry_uri,
    find_tracking_uri,
    has_server,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
CHALLENGER = "challenger"
DIGEST_TAG = "hone.candidate_digest"
DECISION_TAG = "hone.decision_digest"
MODEL_TAG = "hone.model_id"
PROMOTED_TAG = "hone.promoted"  # MLflow forgets who was champion once the alias moves on
ROLLED_BACK_TAG = "hone.rolled_back"  # the move of the champion that took a version back


def find_aliases(client: MlflowClient, name: str) -> dict[str, str]:
    """Return the versions of a model by alias; none where it was never published."""
    with explain_registry():
        found = ask_registry(lambda: client.get_registered_model(name))
    return {} if found is None else {k: str(v) for k, v in found.aliases.items()}


def find_registered(client: MlflowClient, decision: Decision) -> str | None:
    """Return the version that a decision's candidate got in an interrupted publication."""
    with explain_registry():
        versions = client.search_model_versions(f"name = '{decision.model_name}'")
    wanted = {DIGEST_TAG: decision.candidate_digest, DECISION_TAG: decision.digest}
    same = [v.version for v in versions if wanted.items() <= v.tags.items()]
    return str(max(same, key=int)) if same else None


def find_taken_back(client: MlflowClient, name: str, candidate_digest: str) -> str | None:
    """Return the newest version of a candidate where it was rolled back and not published since."""
    champion = find_aliases(client, name).get(CHAMPION)
    with explain_registry():
        versions = client.search_model_versions(f"name = '{name}'")
    same = [v for v in versions if v.tags.get(DIGEST_TAG) == candidate_digest]
    promoted = [v for v in same if str(v.version) == champion or PROMOTED_TAG in v.tags]
    if not promoted:
        return None
    newest = max(promoted, key=lambda found: int(found.version))
    is_back = str(newest.version) != champion and ROLLED_BACK_TAG in newest.tags
    return str(newest.version) if is_back else None


def find_promoted(client: MlflowClient, name: str, candidate_digest: str) -> str | None:
    """Return the newest version of a candidate that is, or was, champion and was not taken back."""
    champion = find_aliases(client, name).get(CHAMPION)
    with explain_registry():
        versions = client.search_model_versions(f"name = '{name}'")
    promoted = [
        int(found.version)
        for found in versions
        if found.tags.get(DIGEST_TAG) == candidate_digest
        and (
            str(found.version) == champion
            or (PROMOTED_TAG in found.tags and ROLLED_BACK_TAG not in found.tags)
        )
    ]
    return str(max(promoted)) if promoted else None


def has_version(client: MlflowClient, name: str, version: str) -> bool:
    """Return whether the registry has a version."""
    with explain_registry():
        return ask_registry(lambda: client.get_model_version(name, version)) is not None


def find_tags(client: MlflowClient, name: str, version: str) -> dict[str, str]:
    """Return the tags of a version.

    Raises:
        RunError: There is no such version.
    """
    with explain_registry():
        found = ask_registry(lambda: client.get_model_version(name, version))
    if found is None:
        raise RunError(where=f"models:/{name}/{version}", message="no such version")
    return dict(found.tags)


def create_logged_model(run: TrackedRun, name: str) -> str:
    """Announce a model of a run to MLflow; return its id."""
    with explain_registry():
        logged = run.client.create_logged_model(
            run.experiment_id, name=name, source_run_id=run.run_id, model_type="hone"
        )
    return str(logged.model_id)


def refuse_logged_model(run: TrackedRun, model_id: str) -> None:
    """Say that an announced model was not accepted."""
    run.client.finalize_logged_model(model_id, "FAILED")


def register_version(
    run: TrackedRun, candidate: Candidate, lineage: Lineage, folder: Path, model_id: str
) -> str:
    """Upload an accepted model, make it a version, and let `challenger` point at it.

    Args:
        run: The MLflow run that made it.
        candidate: What is published.
        lineage: What it was made from.
        folder: The MLflow model.
        model_id: Its id among MLflow's logged models.

    Returns:
        The version.

    Raises:
        RunError: What lies in the registry is not what was uploaded.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    client, name = run.client, candidate.name
    with explain_registry():
        client.log_model_artifacts(model_id, str(folder))
        client.finalize_logged_model(model_id, LoggedModelStatus.READY)
        client.log_outputs(run.run_id, [LoggedModelOutput(model_id, candidate.trained.num_steps)])
        if ask_registry(lambda: client.get_registered_model(name)) is None:
            _create_registered_model(client, name)
        _check_upload(client, model_id, folder)
        version = client.create_model_version(
            name,
            source=_find_source(client, model_id),
            run_id=run.run_id,
            # MLflow's SQL registry does not keep the model's id.
            tags=_list_tags(lineage) | _tag_start(candidate) | {MODEL_TAG: model_id},
            model_id=model_id,
        )
        client.set_registered_model_alias(name, CHALLENGER, version.version)
    return str(version.version)


def _check_upload(client: MlflowClient, model_id: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        found = digest_folder(download_model(client, model_id, Path(temporary)))
    if found != digest_folder(folder):
        raise RunError(where=find_registry_uri(), message="the model's upload arrived damaged")


def _find_source(client: MlflowClient, model_id: str) -> str:
    """Return a version's source.

    A server knows its own models by id; without one, MLflow would look the id up in the
    process's global store, which need not be this one.
    """
    if has_server(find_tracking_uri()):
        return f"models:/{model_id}"
    return str(client.get_logged_model(model_id).artifact_location)


def download_model(client: MlflowClient, model_id: str, target: Path) -> Path:
    """Return a logged model's folder, maybe the store's own: it must not be changed."""
    from mlflow.artifacts import download_artifacts

    location = client.get_logged_model(model_id).artifact_location
    return Path(
        download_artifacts(
            artifact_uri=location,
            dst_path=str(target),
            tracking_uri=find_tracking_uri(),
            registry_uri=find_registry_uri(),
        )
    )


def _list_tags(lineage: Lineage) -> dict[str, str]:
    return {
        DIGEST_TAG: lineage.candidate_digest,
        "hone.data_source": lineage.data_source,
        "hone.data_commit": lineage.data_commit,
        "hone.run": lineage.run,
        "hone.code_revision": lineage.code_revision,
        DECISION_TAG: lineage.decision_digest,
        "hone.template_digest": lineage.template_digest,
        "hone.base": f"{lineage.base.name}@{lineage.base.revision}",
        "hone.method": lineage.method,
        "hone.replaces": lineage.replaces or "",
    }


def _tag_start(candidate: Candidate) -> dict[str, str]:
    """Return the version whose adapter the training started from; nothing for a new one."""
    start = candidate.config["training"].get("init_adapter")
    return {"hone.init_adapter": str(start)} if start else {}


def _create_registered_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description="Published by hone.")
    except MlflowException as err:
        if err.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was faster
            raise


def ask_registry(question: Callable[[], Any]) -> Any:
    """Return the registry's answer, or None where it has no such thing."""
    from mlflow.exceptions import MlflowException

    try:
        return question()
    except MlflowException as err:
        if err.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def explain_registry() -> AbstractContextManager[None]:
    """Say which registry failed, instead of MLflow's bare error."""
    return explain_failures("the model registry", find_registry_uri())
