"""Export a model to another runtime's format, compared with the model itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.records.home import find_home, resolve_in_home
from tasks.resolve import ResolvedModel, resolve_model
from tasks.versioning.base_models import locate_base

if TYPE_CHECKING:
    from tasks.publishing.exports.export import ExportFormat, ExportReport
    from tasks.publishing.exports.sources import ExportSource


def export(
    model: str, name: ExportFormat, output: Path | None = None, tolerance: float | None = None
) -> ExportReport:
    """Write a model in a format, and compare its logits with the model's own.

    Args:
        model: A run folder, a checkpoint, a model folder, `models:/NAME@ALIAS`, or a hub id.
        name: The format.
        output: The folder; None for one below `HONE_HOME/artifacts/exports/`.
        tolerance: Largest difference of logits; None for that of the model's precision.

    Raises:
        RequestError: There is no such model, or the format does not take it.
        ExportRefused: What was written is not the model.
    """
    from tasks.publishing.exports.export import export_model

    source = describe_source(model, resolve_model(model))
    return export_model(source, name, output or choose_folder(source, name), tolerance)


def describe_source(name: str, resolved: ResolvedModel) -> ExportSource:
    """Return a model that was found as something that can be exported."""
    from tasks.publishing.exports.sources import ExportSource

    reference = resolved.reference
    return ExportSource(
        name=name,
        digest=reference.digest,
        folder=resolve_in_home(reference.path) if reference.path else None,
        base=locate_base(reference.base),
        revision=reference.base.revision,
        method=reference.method,
        dtype=reference.dtype,
        kind=resolved.kind,
        tokenizer_folder=resolved.tokenizer_folder,
    )


def choose_folder(source: ExportSource, name: ExportFormat) -> Path:
    """Return where an export goes when nobody says: a place that the model's digest names."""
    return find_home() / "artifacts" / "exports" / f"{source.digest[:12]}-{name}"
