"""The model registry: the champion, and any version, with its verified folder."""

from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import HoneError, RequestError, RunError
from tasks.publishing import local
from tasks.publishing.candidates import ChampionRecord
from tasks.publishing.model_versions import (
    CHAMPION,
    DIGEST_TAG,
    MODEL_TAG,
    download_model,
    explain_registry,
    find_aliases,
    find_promoted,
    find_tags,
    has_version,
)
from tasks.records.handles import Publication
from tasks.records.home import find_home
from tasks.tracking.store import find_database_file, find_registry_uri, open_client

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOG = logging.getLogger("hone")
MODEL_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/]+)|/(?P<version>\d+))")


class ChampionMoved(HoneError):  # noqa: N818 - what happened, not a fault
    """Another model became champion after the decision; evaluate and decide again."""

    code = "champion_moved"
    exit_code = 1


def find_champion(name: str) -> ChampionRecord | None:
    """Return the registry's champion, or None where there is none yet.

    Its folder below `artifacts/models/` is verified byte for byte, and fetched from the registry
    where it is missing or damaged. A champion that cannot be had has its `problem` filled.

    Raises:
        RunError: The registry does not answer.
    """
    if not has_registry():
        return None
    client = open_client()
    version = find_aliases(client, name).get(CHAMPION)
    if version is None:
        return None
    record = find_tags(client, name, version)
    folder = local.find_version_path(name, version)
    problem = restore_version(client, name, version, record.get(DIGEST_TAG, ""))
    lineage = local.read_lineage(folder)
    if not problem and local.read_publication(folder) is None:
        local.write_publication(folder)  # the alias was moved, and then the process was killed
    return ChampionRecord(
        name=name,
        version=version,
        path=folder.relative_to(find_home()).as_posix(),
        digest=record.get(DIGEST_TAG, ""),
        lineage=None if problem else lineage,
        problem=problem,
    )


def find_published(name: str, candidate_digest: str) -> Publication | None:
    """Return the publication of a candidate that is, or once was, the champion.

    Unlike `local.find_version` it asks the registry, so it finds versions whose folder below
    `artifacts/models/` is gone, damaged or lacks its publication, and brings that back. A version
    that was registered and never promoted does not count: its publication was cut off, and has
    yet to check that its decision still holds.

    Args:
        name: The model's name.
        candidate_digest: Digest of the candidate's model files.

    Returns:
        The publication, or None where there is none, or none whose folder can be had.

    Raises:
        RunError: The registry does not answer.
    """
    if not has_registry():
        return None
    client = open_client()
    version = find_promoted(client, name, candidate_digest)
    if version is None:
        return None
    if problem := restore_version(client, name, version, candidate_digest):
        LOG.warning("%s", problem)
        return None
    folder = local.find_version_path(name, version)
    publication = local.read_publication(folder) or local.write_publication(folder)
    return publication.model_copy(update={"reused": True})


def find_version(uri: str) -> str | None:
    """Return the version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` names; None for none.

    Raises:
        RunError: The registry does not answer.
    """
    match = MODEL_URI.fullmatch(uri)
    if match is None or not has_registry():
        return None
    return match["version"] or find_aliases(open_client(), match["name"]).get(match["alias"])


def find_version_folder(uri: str) -> Path:
    """Return the verified folder of `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises:
        RequestError: There is no such version, or it cannot be had.
    """
    match = MODEL_URI.fullmatch(uri)
    if match is None:
        raise RequestError(
            where=uri, message="not a registered model", allowed="models:/NAME@ALIAS or /VERSION"
        )
    if not has_registry():
        raise RequestError(where=uri, message="nothing was published in this HONE_HOME yet")
    client, name = open_client(), match["name"]
    version = match["version"] or find_aliases(client, name).get(match["alias"])
    if version is None:
        aliases = sorted(find_aliases(client, name))
        raise RequestError(
            where=uri, message="no such version", allowed=", ".join(aliases) or "none published"
        )
    if not has_version(client, name, version):
        raise RequestError(where=uri, message="no such version")
    digest = find_tags(client, name, version).get(DIGEST_TAG, "")
    if problem := restore_version(client, name, version, digest):
        raise RequestError(where=uri, message=problem)
    return local.find_version_path(name, version)


def check_champion(client: MlflowClient, name: str, decided: str | None) -> None:
    """Require that the champion is still the one that the decision was made against.

    Raises:
        ChampionMoved: It is not.
    """
    found = find_aliases(client, name).get(CHAMPION)
    if found != decided:
        raise ChampionMoved(
            where=f"models:/{name}@{CHAMPION}",
            message=f"the decision was made against version {decided}, now it is {found}",
            hint="the candidate is evaluated and decided upon again",
        )


def fetch_version(client: MlflowClient, name: str, version: str) -> None:
    """Bring a version's folder from the registry to `artifacts/models/`.

    Raises:
        RunError: The registry's copy is damaged.
    """
    with explain_registry(), tempfile.TemporaryDirectory() as temporary:
        model_id = find_tags(client, name, version).get(MODEL_TAG)
        if model_id is None:
            raise RunError(
                where=f"models:/{name}/{version}", message=f"it has no tag {MODEL_TAG}: not hone's"
            )
        folder = download_model(client, model_id, Path(temporary))
        artefact = folder / "artifacts" / "model"
        if problem := local.verify_artefact(artefact):
            raise RunError(where=f"models:/{name}/{version}", message=problem)
        local.copy_artefact(artefact, name, version)


def restore_version(client: MlflowClient, name: str, version: str, digest: str) -> str:
    """Make sure that a version's folder is there; return what is wrong, or nothing."""
    folder = local.find_version_path(name, version)
    if damage := local.verify_artefact(folder):
        LOG.warning("%s; fetching it from the registry", damage)
        try:
            fetch_version(client, name, version)
        except (HoneError, OSError) as err:
            return f"version {version} of {name} cannot be had: {err}"
    lineage = local.read_lineage(folder)
    if lineage is None or lineage.candidate_digest != digest:
        return f"{folder} is not what the registry calls version {version} of {name}"
    return ""


def note_on_version(name: str, version: str, tag: str, text: str) -> None:
    """Write a remark on a version, in place of an earlier one under the same tag.

    Raises:
        RunError: The registry does not answer.
    """
    with explain_registry():
        open_client().set_model_version_tag(name, version, tag, text)


def has_registry() -> bool:
    """Return whether anything can be registered; a database that was never made has nothing."""
    file = find_database_file(find_registry_uri())
    return file is None or file.exists()
