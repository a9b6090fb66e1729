"""What is published, and what is known about a version once it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from configs.errors import RequestError, RunError
from tasks.records.digests import digest_file, digest_folder, digest_value
from tasks.records.handles import (
    Arm,
    DataVersion,
    Decision,
    Evaluation,
    FormattedData,
    Kind,
    ModelReference,
    PinnedModel,
    Record,
    TrainedModel,
)


@dataclass(frozen=True)
class Candidate:
    """A trained model with everything that led to it."""

    name: str
    """Its name in the registry and below `artifacts/models/`."""
    data: DataVersion
    formatted: FormattedData
    trained: TrainedModel
    evaluations: Mapping[Arm, Evaluation]
    decision: Decision
    evidence: Mapping[str, Path]
    """The file or folder behind each digest in the decision's `evidence`."""
    config: Mapping[str, Any]
    """The resolved configuration as JSON."""
    run: str
    """The run folder's name."""
    code_revision: str
    intervals: Mapping[str, Any]
    """The interval of each metric that decided, on `test`: what later scores are compared with."""

    @property
    def metrics(self) -> dict[str, dict[str, dict[str, float]]]:
        """The figures by arm, split and metric."""
        return {arm: self.evaluations[arm].metrics for arm in sorted(self.evaluations)}


class Lineage(Record):
    """What a version was made from; `lineage.json` in its folder."""

    name: str
    candidate_digest: str
    model_files: tuple[str, ...]
    """The files that `candidate_digest` is over; hone adds the others."""
    base: PinnedModel
    method: Literal["lora", "qlora", "full"]
    dtype: str
    kind: Kind
    template_digest: str
    data_source: str
    data_commit: str
    splits: dict[str, str]
    """Digest of each split's examples."""
    run: str
    code_revision: str
    decision_digest: str
    replaces: str | None
    """The champion's version when this one was decided upon."""
    versions: dict[str, str]
    """Installed versions of the libraries under it."""


class ChampionRecord(Record):
    """The registry's champion, cross-checked with its folder below `artifacts/models/`."""

    name: str
    version: str
    path: str
    """Its folder, relative to HONE_HOME."""
    digest: str
    """Digest of the model's files when it was a candidate."""
    lineage: Lineage | None
    problem: str = ""
    """Why it cannot be loaded; empty when it can."""

    @property
    def reference(self) -> ModelReference:
        """The champion as something that can be loaded and scored."""
        assert self.lineage is not None, self.problem
        return ModelReference(
            digest=self.digest,
            path=self.path,
            base=self.lineage.base,
            method=self.lineage.method,
            dtype=self.lineage.dtype,
        )


def check_candidate(candidate: Candidate) -> None:
    """Refuse a candidate that its decision does not publish.

    Raises:
        RequestError: The verdict is not `better`, or the decision is about another name.
        RunError: A file behind the decision is missing or has changed since.
    """
    decision = candidate.decision
    where = f"decision {decision.digest[:12]}"
    if decision.verdict != "better":
        raise RequestError(
            where=where,
            message=f"the verdict is {decision.verdict}: {'; '.join(decision.reasons)}",
            allowed="only better is published",
        )
    if decision.model_name != candidate.name:
        raise RequestError(
            where=where,
            message=f"it is about {decision.model_name}, not about {candidate.name}",
            hint="run again under the new name, so that its own champion is compared",
        )
    if changed := list_changes(candidate):
        raise RunError(
            where=where,
            message=f"its evidence is missing or was changed: {', '.join(changed)}",
            hint="run again: what is gone is evaluated and decided upon anew",
        )


def list_changes(candidate: Candidate) -> list[str]:
    """Return what of a decision's evidence is not, byte for byte, what it was bound to."""
    decision, trained = candidate.decision, candidate.trained
    found = digest_evidence(candidate.evidence)
    content = decision.model_dump(mode="json", exclude={"path", "digest"})
    models = {decision.candidate_digest, trained.digest, digest_path(trained.model_folder)}
    changed = [] if len(models) == 1 else ["candidate"]
    changed += [] if digest_value(content) == decision.digest else ["decision"]
    names = sorted({*found, *decision.evidence})
    return changed + [n for n in names if found.get(n) != decision.evidence.get(n)]


def digest_evidence(paths: Mapping[str, Path]) -> dict[str, str]:
    """Return the digests that bind a decision to its evidence.

    Args:
        paths: Files and folders by what they are, such as `predictions/finetuned`.
    """
    return {name: digest_path(path) for name, path in sorted(paths.items())}


def digest_path(path: Path) -> str:
    """Return the digest of a file or of all files of a folder; `missing` where it is gone."""
    if path.is_dir():
        return digest_folder(path)
    return digest_file(path) if path.is_file() else "missing"
