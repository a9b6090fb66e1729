"""Published versions as folders: `artifacts/models/<name>/<version>/`."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tasks.formatting.rows.examples import digest_prompt, iter_examples
from tasks.publishing.candidates import Candidate, Lineage
from tasks.publishing.card import write_card
from tasks.publishing.moves import ChampionMove
from tasks.records.digests import digest_file, digest_files, find_versions, list_files
from tasks.records.handles import Decision, Publication
from tasks.records.home import find_home
from tasks.records.locks import hold_lock
from tasks.records.writing import read_json, write_json, write_text

LOG = logging.getLogger("hone")
DIGESTS = "digests.json"
LINEAGE = "lineage.json"
DECISION = "decision.json"
TRAINING_PROMPTS = "training_prompts.txt"
DECIDING_PROMPTS = "deciding_prompts.txt"
INTERVALS = "intervals.json"
# Written after the version's content is complete, so no digest covers them.
ACCEPTANCE = "acceptance.json"
PUBLICATION = "publication.json"
MOVES = "moves.json"
COPIES = "copies.json"
PROBES = "probes"  # a folder: the acceptance test's prompts, answers and logits
UNCOVERED = {DIGESTS, ACCEPTANCE, PUBLICATION, MOVES, COPIES, PROBES}
PINNED_LIBRARIES = ("torch", "transformers", "peft", "safetensors", "tokenizers", "mlflow")


def find_models_root() -> Path:
    """Return the folder of all published models."""
    return find_home() / "artifacts" / "models"


def find_lock(name: str) -> Path:
    """Return the lock file of a model name; who holds it alone decides about its champion."""
    return find_models_root() / ".locks" / f"{name}.lock"


def find_version_path(name: str, version: str) -> Path:
    """Return the folder of a version, whether it exists or not."""
    return find_models_root() / name / version


def find_version(name: str, candidate_digest: str) -> Publication | None:
    """Return the publication of a candidate that is a complete version already, without MLflow.

    A version that was taken back does not count; its candidate may be published again.

    Args:
        name: The model's name.
        candidate_digest: Digest of the candidate's model files.
    """
    for folder in list_versions(name):
        lineage = read_lineage(folder)
        if lineage and lineage.candidate_digest == candidate_digest:
            publication = None if read_rollback(folder) else read_publication(folder)
            if publication and verify_artefact(folder) == "":
                return publication.model_copy(update={"reused": True})
    return None


def list_versions(name: str) -> list[Path]:
    """Return the folders of a model's versions, oldest first."""
    folders = find_models_root() / name
    found = folders.iterdir() if folders.is_dir() else ()
    return sorted((p for p in found if p.name.isdecimal()), key=lambda path: int(path.name))


def read_lineage(folder: Path) -> Lineage | None:
    """Return what a version was made from, or None when its folder does not say."""
    if not (folder / LINEAGE).is_file():
        return None
    try:
        return Lineage.model_validate(read_json(folder / LINEAGE))
    except (ValidationError, ValueError) as err:
        LOG.warning("%s is not readable: %s", folder / LINEAGE, err)
        return None


def read_publication(folder: Path) -> Publication | None:
    """Return a version's publication, or None when it was never completed or is damaged."""
    if not (folder / PUBLICATION).is_file():
        return None
    try:
        return Publication.model_validate(read_json(folder / PUBLICATION))
    except (ValidationError, ValueError) as err:
        LOG.warning("%s is not readable: %s", folder / PUBLICATION, err)
        return None


def find_rollback(name: str, candidate_digest: str) -> ChampionMove | None:
    """Return the move that took a candidate's newest version back, as its folder knows it."""
    for folder in reversed(list_versions(name)):
        lineage = read_lineage(folder)
        if lineage and lineage.candidate_digest == candidate_digest:
            return read_rollback(folder)
    return None


def read_rollback(folder: Path) -> ChampionMove | None:
    """Return the move that took a version back; None where it was not, or is champion again."""
    file = folder / MOVES
    moves = (
        [ChampionMove.model_validate(move) for move in read_json(file)] if file.is_file() else []
    )
    last = moves[-1] if moves else None
    return last if last and last.action == "rolled_back" and last.replaced == folder.name else None


def write_moves(name: str, moves: Sequence[ChampionMove]) -> None:
    """Keep in each version's folder how it became champion, and how it was taken back.

    Args:
        name: The model's name.
        moves: The registry's history, oldest first.
    """
    for folder in list_versions(name):
        own = [move for move in moves if folder.name in {move.version, move.replaced}]
        if own:
            write_json(folder / MOVES, [move.model_dump(mode="json") for move in own])


def read_training_prompts(folder: Path) -> frozenset[str]:
    """Return the digests of the prompts that a version was trained on."""
    return frozenset((folder / TRAINING_PROMPTS).read_text(encoding="utf-8").splitlines())


def read_deciding_prompts(folder: Path) -> frozenset[str]:
    """Return the digests of the prompts by which a version was chosen and decided upon."""
    return frozenset((folder / DECIDING_PROMPTS).read_text(encoding="utf-8").splitlines())


def read_decision(folder: Path) -> Decision:
    """Return the decision that published a version."""
    return Decision.model_validate(read_json(folder / DECISION))


def verify_artefact(folder: Path) -> str:
    """Return what is wrong with a version's folder; empty when each byte is as published."""
    if not (folder / DIGESTS).is_file():
        return f"{folder} has no {DIGESTS}"
    try:
        expected = dict(read_json(folder / DIGESTS))
    except (TypeError, ValueError):
        return f"{folder / DIGESTS} is not readable"
    found = [name for name in list_files(folder) if name.split("/")[0] not in UNCOVERED]
    if unequal := sorted(set(found) ^ set(expected)):
        return f"{folder / unequal[0]} is missing or was added"
    for name, digest in expected.items():
        if digest_file(folder / name) != digest:
            return f"{folder / name} was changed"
    return ""


def build_artefact(candidate: Candidate, folder: Path) -> Lineage:
    """Fill a folder with a version's content: model, card, figures, config, decision, digests.

    Args:
        candidate: What is published.
        folder: A new folder; its content depends on nothing but the candidate.

    Returns:
        What the version was made from.
    """
    shutil.copytree(candidate.trained.model_folder, folder, symlinks=False)
    lineage = _describe_lineage(candidate)
    write_text(folder / "README.md", write_card(candidate))
    write_json(folder / "metrics.json", candidate.metrics)
    config = yaml.safe_dump(dict(candidate.config), sort_keys=True, allow_unicode=True)
    write_text(folder / "config.yaml", config)
    write_json(folder / DECISION, candidate.decision.model_dump(mode="json"))
    write_json(folder / LINEAGE, lineage.model_dump(mode="json"))
    write_json(folder / INTERVALS, candidate.intervals)
    deciding = {"validation", *(check.split for check in candidate.decision.checks)}
    inherited = read_inherited_prompts(candidate.config)
    _write_prompts(folder / TRAINING_PROMPTS, candidate, {"train"}, inherited)
    _write_prompts(folder / DECIDING_PROMPTS, candidate, deciding & set(candidate.formatted.splits))
    write_json(folder / DIGESTS, digest_files(folder, list_files(folder)))
    return lineage


def read_inherited_prompts(config: Mapping[str, Any]) -> frozenset[str]:
    """Return the prompts that the adapter was trained on that a training started from."""
    uri = config["training"].get("init_adapter")
    if uri is None:
        return frozenset()
    return read_training_prompts(find_models_root() / str(uri).removeprefix("models:/"))


def _write_prompts(
    file: Path,
    candidate: Candidate,
    splits: Set[str],
    inherited: frozenset[str] = frozenset(),
) -> None:
    """Write the digests of the prompts of some splits and others, each once, sorted."""
    examples = candidate.formatted.folder / "examples"
    prompts = inherited | {
        digest_prompt(example.messages, example.text)
        for split in splits
        for example in iter_examples(examples / f"{split}.jsonl")
    }
    write_text(file, "".join(f"{prompt}\n" for prompt in sorted(prompts)))


def _describe_lineage(candidate: Candidate) -> Lineage:
    trained, decision = candidate.trained, candidate.decision
    return Lineage(
        name=candidate.name,
        candidate_digest=trained.digest,
        model_files=tuple(list_files(trained.model_folder)),
        base=trained.base,
        method=trained.method,
        dtype=trained.dtype,
        kind=candidate.formatted.kind,
        template_digest=trained.template_digest,
        data_source=candidate.data.source,
        data_commit=candidate.data.commit,
        splits={n: split.digest for n, split in sorted(candidate.formatted.splits.items())},
        run=candidate.run,
        code_revision=candidate.code_revision,
        decision_digest=decision.digest,
        replaces=decision.champion_version,
        versions=find_versions(*PINNED_LIBRARIES),
    )


def copy_artefact(artefact: Path, name: str, version: str) -> Path:
    """Put a complete artefact in its place, atomically.

    Args:
        artefact: The folder that `build_artefact` filled, or a copy of it.
        name: The model's name.
        version: Its version in the registry.

    Returns:
        The version's folder; one that is there already and undamaged stays as it is.
    """
    target = find_version_path(name, version)
    temporary = find_models_root() / ".staging" / f"{name}-{version}"
    with hold_lock(find_lock(f"{name}-{version}"), f"the folder of {name} {version}"):
        if target.exists() and verify_artefact(target) == "":
            return target
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(artefact, temporary)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():  # damaged: a rename does not replace a folder with content
            LOG.warning("%s; it is put in place anew", verify_artefact(target))
            shutil.rmtree(target)
        temporary.replace(target)
    return target


def write_publication(folder: Path) -> Publication:
    """Say that a version is complete: in its folder, in the registry, and once the champion."""
    lineage = read_lineage(folder)
    assert lineage is not None, folder
    publication = Publication(
        path=folder.relative_to(find_home()).as_posix(),
        digest=digest_file(folder / DIGESTS),
        name=lineage.name,
        version=folder.name,
        uri=f"models:/{lineage.name}/{folder.name}",
        decision_digest=lineage.decision_digest,
    )
    write_json(folder / PUBLICATION, publication.model_dump(mode="json"))
    return publication
