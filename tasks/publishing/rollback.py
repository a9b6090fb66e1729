"""Rolling back: an earlier version is proven to work here and now, and becomes champion again."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import RequestError, RunError
from tasks.publishing import delivery, history, local, model_versions, registry
from tasks.publishing.acceptance import AcceptanceReport, read_probes
from tasks.publishing.acceptance_process import ask_process, start_process
from tasks.publishing.model_versions import CHAMPION, DIGEST_TAG, MODEL_TAG, PROMOTED_TAG
from tasks.publishing.moves import ChampionMove, describe_move
from tasks.records.handles import Record
from tasks.records.locks import hold_lock
from tasks.tracking.store import open_client

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOG = logging.getLogger("hone")


class Rollback(Record):
    """A version that is champion again, and how it was proven to work."""

    name: str
    move: ChampionMove
    path: str
    """Its folder, relative to HONE_HOME: model, tokenizer, template and generation config."""
    report: AcceptanceReport


def roll_back(name: str, version: str | None, *, who: str, reason: str) -> Rollback:
    """Make an earlier version champion again, when it still does what it did when published.

    A version is its whole folder: tokenizer, template and generation config move along with the
    weights. The alias moves last.

    Args:
        name: The model's name.
        version: Which one; by default the one that the champion replaced.
        who: Who asks for it.
        reason: Why.

    Raises:
        RequestError: There is no such model or version, or it was never champion.
        ArtefactRefused: It does not answer as it did when it was published.
        RunError: The registry or the test failed; the champion is the one it was.
    """
    with hold_lock(local.find_lock(name), f"the publication of {name}"):
        if not registry.has_registry():
            raise RequestError(where=name, message="nothing was published in this HONE_HOME yet")
        client = open_client()
        champion = model_versions.find_aliases(client, name).get(CHAMPION)
        if champion is None:
            raise RequestError(where=name, message="no model of this name has a champion")
        target = _choose_version(client, name, champion, version)
        digest = model_versions.find_tags(client, name, target).get(DIGEST_TAG, "")
        if problem := registry.restore_version(client, name, target, digest):
            raise RunError(where=f"models:/{name}/{target}", message=problem)
        report = test_version(client, name, target)
        registry.check_champion(client, name, champion)
        move = describe_move("rolled_back", target, champion, who=who, reason=reason)
        history.settle_history(client, name)
        # Cut off before the alias, the folder says too much, and the registry puts that right;
        # the other way round a run would call published what was taken back.
        local.write_moves(name, [*history.read_history(client, name), move])
        history.move_champion(client, name, move)
        folder = local.find_version_path(name, target)
        publication = local.read_publication(folder) or local.write_publication(folder)
        moved = delivery.follow_champion(folder, local.find_version_path(name, champion))
    LOG.info("rollback: %s", move.describe())
    if not moved:
        LOG.warning(
            "rollback: the hub still shows version %s: `hone publish RUN --to hub` with the run of "
            "version %s brings it up to date", champion, target,
        )  # fmt: skip
    return Rollback(name=name, move=move, path=publication.path, report=report)


def _choose_version(client: MlflowClient, name: str, champion: str, version: str | None) -> str:
    where = f"models:/{name}/{version or CHAMPION}"
    if version is None:
        found = history.find_predecessor(client, name)
        if found is None:
            raise RequestError(
                where=where,
                message=f"version {champion} is champion, and none before it was",
                hint="name another one with --to",
            )
        return found
    if not version.isdecimal() or not model_versions.has_version(client, name, version):
        raise RequestError(where=where, message=f"{name} has no version {version}")
    if version == champion:
        raise RequestError(where=where, message=f"version {version} is the champion already")
    if PROMOTED_TAG not in model_versions.find_tags(client, name, version):
        raise RequestError(
            where=where,
            message=f"version {version} was never champion: it has not passed the gate to the end",
            hint="`hone publish RUN` publishes it under the gate",
        )
    return version


def test_version(client: MlflowClient, name: str, version: str) -> AcceptanceReport:
    """Make a version's acceptance test again, in a fresh process with the code of its own time.

    Raises:
        ArtefactRefused: It does not answer as it did.
        RunError: Nothing was kept that it could be compared with, or the test failed.
    """
    model_id = model_versions.find_tags(client, name, version).get(MODEL_TAG, "")
    with tempfile.TemporaryDirectory(prefix="hone-rollback-") as temporary:
        folder = Path(temporary)
        with model_versions.explain_registry():
            pyfunc = model_versions.download_model(client, model_id, folder / "model")
        kept = _find_probes(client, name, version, model_id, folder)
        with start_process(pyfunc / "code") as fresh:
            return ask_process(fresh, read_probes(kept, pyfunc, folder / "report.json"), folder)


def _find_probes(
    client: MlflowClient, name: str, version: str, model_id: str, temporary: Path
) -> Path:
    """Return what a version was compared with when it was published, from here or from MLflow."""
    kept = local.find_version_path(name, version) / local.PROBES
    if kept.is_dir():
        return kept
    with model_versions.explain_registry():
        run_id = client.get_model_version(name, version).run_id
        try:
            return Path(
                client.download_artifacts(run_id, f"{local.PROBES}/{model_id}", str(temporary))
            )
        except OSError as err:
            raise RunError(
                where=f"models:/{name}/{version}",
                message="what it was compared with when it was published is gone from this "
                "HONE_HOME and from its MLflow run",
                hint="publish a run of it anew",
            ) from err
