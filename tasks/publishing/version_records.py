"""What the registry knows about a version, read without fetching its weights."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import ValidationError

from configs.errors import RequestError, RunError
from tasks.publishing import local
from tasks.publishing.candidates import Lineage
from tasks.publishing.model_versions import (
    CHAMPION,
    MODEL_TAG,
    explain_registry,
    find_aliases,
)
from tasks.publishing.registry import MODEL_URI
from tasks.records.digests import digest_file
from tasks.records.handles import Decision, Publication, Record
from tasks.records.writing import read_json
from tasks.tracking.store import (
    find_database_file,
    find_registry_uri,
    find_tracking_uri,
    open_client,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

RECORDS = (local.LINEAGE, local.DECISION, local.DIGESTS, "metrics.json", "config.yaml")
ARTEFACT = "artifacts/model"  # where the published folder lies in the registered one

RUN_TAG = "hone.run"
PAGE = 1000

RecordT = TypeVar("RecordT", bound=Record)


class VersionRecord(Record):
    """A published version as its own files and the registry tell it; None where one is missing."""

    name: str
    version: str
    aliases: tuple[str, ...]
    run_id: str | None
    """The MLflow run that published it."""
    tags: dict[str, str]
    lineage: Lineage | None
    decision: Decision | None
    metrics: dict[str, dict[str, dict[str, float]]]
    config: dict[str, Any] | None
    files: dict[str, str]
    """SHA-256 of each file of the published folder."""
    digest: str
    """Of the list of these digests; names the publication."""

    @property
    def publication(self) -> Publication:
        """The version as a stage returns it, whether its folder is on this machine or not."""
        return Publication(
            path=f"artifacts/models/{self.name}/{self.version}",
            digest=self.digest,
            name=self.name,
            version=self.version,
            uri=f"models:/{self.name}/{self.version}",
            decision_digest=self.decision.digest if self.decision else "",
        )


def read_registered(uri: str) -> VersionRecord:
    """Return what the registry knows about `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises:
        RequestError: There is no such version.
        RunError: The registry does not answer.
    """
    match = MODEL_URI.fullmatch(uri)
    if match is None:
        raise RequestError(
            where=uri, message="not a registered model", allowed="models:/NAME@ALIAS or /VERSION"
        )
    file = find_database_file(find_registry_uri())
    if file and not file.exists():
        raise RequestError(where=uri, message="nothing was published in this HONE_HOME yet")
    client, name = open_client(), match["name"]
    aliases = find_aliases(client, name)
    version = match["version"] or aliases.get(match["alias"])
    found = version and find_model_version(client, name, version)
    if not found:
        raise RequestError(
            where=uri,
            message="no such version",
            allowed=", ".join(sorted(aliases)) or "none published",
        )
    named = tuple(sorted(alias for alias, held in aliases.items() if held == str(version)))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if model_id := found.tags.get(MODEL_TAG):
            fetch_records(client, model_id, folder)
        return read_records(
            folder, name, str(version), named, run_id=found.run_id or None, tags=found.tags
        )


def has_champion(name: str) -> bool:
    """Return whether a model of this name was published.

    Raises:
        RunError: The registry does not answer.
    """
    file = find_database_file(find_registry_uri())
    return (file is None or file.exists()) and CHAMPION in find_aliases(open_client(), name)


def list_runs_of_versions() -> frozenset[str]:
    """Return the names of the runs that any version in the registry came from.

    Raises:
        RunError: The registry does not answer.
    """
    file = find_database_file(find_registry_uri())
    if file and not file.exists():
        return frozenset()
    client = open_client()
    found: set[str] = set()
    token: str | None = None
    with explain_registry():
        while True:
            page = client.search_model_versions(max_results=PAGE, page_token=token)
            found |= {version.tags[RUN_TAG] for version in page if RUN_TAG in version.tags}
            token = page.token
            if not token:
                return frozenset(found)


def find_model_version(client: MlflowClient, name: str, version: str) -> Any:
    """Return the registry's entry of a version, or None."""
    from mlflow.exceptions import MlflowException

    with explain_registry():
        try:
            return client.get_model_version(name, version)
        except MlflowException as err:
            if err.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    return None


def fetch_records(client: MlflowClient, model_id: str, folder: Path) -> None:
    """Bring a version's small files into a folder; one that it lacks is left out."""
    from mlflow.artifacts import download_artifacts, list_artifacts

    tracking_uri = find_tracking_uri()
    with explain_registry():
        location = client.get_logged_model(model_id).artifact_location
        root = f"{location}/{ARTEFACT}"
        listed = list_artifacts(artifact_uri=root, tracking_uri=tracking_uri)
        for name in {Path(found.path).name for found in listed} & set(RECORDS):
            download_artifacts(
                artifact_uri=f"{root}/{name}", dst_path=str(folder), tracking_uri=tracking_uri
            )


def read_records(
    folder: Path,
    name: str,
    version: str,
    aliases: tuple[str, ...] = (),
    *,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> VersionRecord:
    """Return what the files of a version's folder say.

    Args:
        folder: The folder, or one that holds its small files.
        name: The model's name.
        version: Its version.
        aliases: What points at it.
        run_id: The MLflow run that published it.
        tags: Its tags in the registry.
    """
    config, digests = folder / "config.yaml", folder / local.DIGESTS
    has_digests = digests.is_file()
    return VersionRecord(
        name=name,
        version=version,
        aliases=aliases,
        run_id=run_id,
        tags=dict(tags or {}),
        lineage=_read_record(folder / local.LINEAGE, Lineage),
        decision=_read_record(folder / local.DECISION, Decision),
        metrics=read_json(folder / "metrics.json") if (folder / "metrics.json").is_file() else {},
        config=yaml.safe_load(config.read_text(encoding="utf-8")) if config.is_file() else None,
        files=dict(read_json(digests)) if has_digests else {},
        digest=digest_file(digests) if has_digests else "",
    )


def _read_record(file: Path, kind: type[RecordT]) -> RecordT | None:
    if not file.is_file():
        return None
    try:
        return kind.model_validate(read_json(file))
    except (ValidationError, ValueError) as err:
        raise RunError(
            where=file.name,
            message="it is not readable",
            hint="it was damaged, or a newer hone wrote it: update this clone",
        ) from err
