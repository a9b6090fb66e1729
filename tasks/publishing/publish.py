"""Publishing: proof in a fresh process, registration, copy, and last of all the alias."""

from __future__ import annotations

import gc
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from configs.errors import RunError
from tasks.formatting.rows.examples import read_examples
from tasks.publishing import history, local, model_versions, registry
from tasks.publishing.acceptance import (
    LOGITS,
    PROBE_LOGITS,
    AcceptanceReport,
    AcceptanceSpec,
    write_probes,
)
from tasks.publishing.acceptance_process import FreshProcess, ask_process, use_process
from tasks.publishing.approvals import REQUIRED, Approval, NeedsApproval, check_approval
from tasks.publishing.candidates import Candidate, Lineage, check_candidate
from tasks.publishing.delivery import Delivery, deliver
from tasks.publishing.moves import describe_move
from tasks.publishing.probes import Probe, choose_probes, measure_logits
from tasks.publishing.pyfunc_folder import build_pyfunc, describe_settings
from tasks.records.handles import Publication
from tasks.records.home import resolve_in_project
from tasks.records.locks import hold_lock
from tasks.records.stage_fields import name_fields
from tasks.records.writing import write_json
from tasks.tracking.people import name_person
from tasks.tracking.runs import TrackedRun

LOG = logging.getLogger("hone")
PROBED_SPLIT = "test"


@dataclass(frozen=True)
class AcceptanceSettings:
    """How the artefact is compared with the evaluated model."""

    num_probes: int
    max_logit_difference: float
    max_new_tokens: int
    batch_size: int


def publish_candidate(
    candidate: Candidate,
    run: TrackedRun,
    settings: AcceptanceSettings,
    prepared: FreshProcess | None = None,
    approval: Approval | None = None,
    delivery: Delivery = Delivery(),  # noqa: B008 - frozen
) -> Publication:
    """Publish a candidate that is proven better, once.

    The alias moves last: whatever fails or is killed before leaves the old champion in place,
    and the next attempt goes on. A candidate that is a version already returns that version.

    Args:
        candidate: The model with everything that led to it.
        run: The MLflow run that made it.
        settings: How the artefact is compared with the evaluated model.
        prepared: The fresh process of the acceptance test, where it was begun already.
        approval: A person's agreement, where one is needed.
        delivery: Where the version goes besides its folder and the registry.

    Raises:
        RequestError: The verdict is not `better`, or is about another name.
        NeedsApproval: Nobody has agreed, and the config asks for it, or it was rolled back once.
        ChampionMoved: The champion is not the one that the decision was made against.
        ArtefactRefused: The artefact does not do what the evaluated model did.
        RunError: The registry or the fresh process failed, or the evidence has changed.
    """
    name, digest = candidate.name, candidate.trained.digest
    with hold_lock(local.find_lock(name), f"the publication of {name}"):
        if found := local.find_version(name, digest) or registry.find_published(name, digest):
            return found
        check_candidate(candidate)
        _check_approved(candidate, run, approval)
        registry.check_champion(run.client, name, candidate.decision.champion_version)
        # An earlier attempt may have been accepted and registered, and then interrupted.
        version = model_versions.find_registered(run.client, candidate.decision)
        version = version or _accept_and_register(candidate, run, settings, prepared)
        if problem := registry.restore_version(run.client, name, version, digest):
            raise RunError(where=f"models:/{name}/{version}", message=problem)
        deliver(local.find_version_path(name, version), delivery)
        registry.check_champion(run.client, name, candidate.decision.champion_version)
        publication = _promote(candidate, run, version, approval)
    LOG.info(
        "publish: %s is now models:/%s@champion (%s)", version, name, publication.path,
        extra=name_fields("publish", model=name, version=version, reused=False),
    )  # fmt: skip
    return publication


def _check_approved(candidate: Candidate, run: TrackedRun, approval: Approval | None) -> None:
    """Require a person's agreement where the config asks for it, or somebody took it back."""
    name, decision = candidate.name, candidate.decision
    if approval:
        check_approval(approval, decision.digest)
        return
    is_required = candidate.config["publish"].get("approval") == "required"
    taken_back = model_versions.find_taken_back(run.client, name, candidate.trained.digest)
    if is_required or taken_back:
        raise NeedsApproval(
            where=f"decision {decision.digest}",
            message=f"version {taken_back}, the same model, was rolled back"
            if taken_back
            else REQUIRED,
            hint="see its evidence; `hone publish RUN --approve REASON` publishes it",
        )


def _promote(
    candidate: Candidate, run: TrackedRun, version: str, approval: Approval | None
) -> Publication:
    move = describe_move(
        "published",
        version,
        candidate.decision.champion_version,
        who=approval.who if approval else name_person(),
        reason=approval.reason if approval else "; ".join(candidate.decision.reasons),
    )
    history.move_champion(run.client, candidate.name, move)
    publication = local.write_publication(local.find_version_path(candidate.name, version))
    local.write_moves(candidate.name, history.read_history(run.client, candidate.name))
    return publication


def _accept_and_register(
    candidate: Candidate,
    run: TrackedRun,
    settings: AcceptanceSettings,
    prepared: FreshProcess | None,
) -> str:
    model_id = model_versions.create_logged_model(run, candidate.name)
    with _make_staging(candidate.name) as staging:
        try:
            lineage, report = _prove(candidate, run, settings, prepared, staging, model_id)
        except BaseException:
            model_versions.refuse_logged_model(run, model_id)
            raise
        pyfunc = staging / "pyfunc"
        version = model_versions.register_version(run, candidate, lineage, pyfunc, model_id)
        folder = local.copy_artefact(staging / "model", candidate.name, version)
        write_json(folder / local.ACCEPTANCE, report.model_dump(mode="json"))
        shutil.copytree(staging / local.PROBES, folder / local.PROBES, dirs_exist_ok=True)
        kept = f"{local.PROBES}/{model_id}"  # a run may have made more than one candidate
        run.client.log_artifacts(run.run_id, str(staging / local.PROBES), kept)
        run.client.log_dict(run.run_id, report.model_dump(mode="json"), local.ACCEPTANCE)
    return version


def _prove(
    candidate: Candidate,
    run: TrackedRun,
    settings: AcceptanceSettings,
    prepared: FreshProcess | None,
    staging: Path,
    model_id: str,
) -> tuple[Lineage, AcceptanceReport]:
    """Build what would be published and have a fresh process accept it."""
    spec = AcceptanceSpec(
        pyfunc_folder=str(staging / "pyfunc"),
        probes=tuple(_find_probes(candidate, settings.num_probes)),
        reference_logits=str(staging / local.PROBES / PROBE_LOGITS),
        max_logit_difference=settings.max_logit_difference,
        report=str(staging / "report.json"),
    )
    with use_process(prepared) as fresh:
        lineage = local.build_artefact(candidate, staging / "model")
        build_pyfunc(
            Path(spec.pyfunc_folder),
            artefact=staging / "model",
            code=fresh.code,
            settings=describe_settings(
                candidate, max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size
            ),
            example=spec.probes[0].model_input,
            run_id=run.run_id,
            model_id=model_id,
        )
        write_probes(staging / local.PROBES, spec)
        _record_logits(candidate, spec.probes, staging / local.PROBES / PROBE_LOGITS)
        return lineage, ask_process(fresh, spec, staging)


def _find_probes(candidate: Candidate, num_probes: int) -> list[Probe]:
    file = f"{PROBED_SPLIT}.jsonl"
    examples = read_examples(candidate.formatted.folder / "examples" / file)
    predictions = candidate.evaluations["finetuned"].folder / "predictions" / file
    return choose_probes(examples, predictions, num_probes)


def _record_logits(candidate: Candidate, probes: Sequence[Probe], out: Path) -> None:
    """Write the logits of the evaluated model, loaded from where the evaluation loaded it."""
    from safetensors.torch import save_file

    from configs.schema import ModelConfig
    from tasks.formatting.rendering.renderer import load_renderer
    from tasks.training.devices import detect_device
    from tasks.training.shared_base import borrow_trained, release_base

    trained = candidate.trained
    renderer = load_renderer(trained.model_folder, None, candidate.formatted.kind)
    prompts = [probe.render(renderer) for probe in probes]
    with borrow_trained(
        trained.model_folder,
        resolve_in_project(trained.base.location),
        method=trained.method,
        dtype=trained.dtype,
        device=detect_device().kind,
        model=ModelConfig.model_validate(dict(candidate.config["model"])),
        revision=trained.base.revision,
    ) as model:
        save_file({LOGITS: measure_logits(model, prompts)}, out)
    del model  # the fresh process needs the device's memory for its own copy
    release_base()
    gc.collect()
    _empty_device_cache()


def _empty_device_cache() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def _make_staging(name: str) -> Iterator[Path]:
    """Give a folder beside the published models; what a killed attempt left there is removed."""
    staging = local.find_models_root() / ".staging" / name
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
