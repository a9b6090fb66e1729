"""Export a model to another runtime's format, compared with the model itself."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import RequestError
from tasks.publishing.local import read_lineage
from tasks.publishing.package import SUFFIX
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
    if name == "package":
        return export_package(source, output)
    return export_model(source, name, output or choose_folder(source, name), tolerance)


def export_package(source: ExportSource, output: Path | None = None) -> ExportReport:
    """Write a published version as one file, unpack it again, and compare it with the version.

    Args:
        source: The version.
        output: The file, or the folder that it goes into; None for `artifacts/packages/`.

    Raises:
        RequestError: It is no published version.
        ExportRefused: What is in the file is another model.
    """
    from tasks.publishing.delivery import name_package, write_version
    from tasks.publishing.exports import comparison
    from tasks.publishing.exports.export import ExportReport

    begin, folder = time.monotonic(), source.folder or source.base
    if read_lineage(folder) is None or not folder.name.isdecimal():
        raise RequestError(
            message=f"{source.name} is no published version: nothing says what it was made from",
            where="--format package",
            allowed="models:/NAME@ALIAS, or a version's folder",
            hint="hone publish RUN --to package publishes the model of a run, and packs it",
        )
    target = output or find_home() / "artifacts" / "packages"
    if not target.name.endswith(SUFFIX):
        target /= f"{name_package(folder)}{SUFFIX}"
    reference = comparison.record_reference(source, source.load_renderer())
    with comparison.make_folder_beside(target) as staging:
        file = staging / target.name
        write_version(folder, file)
        packed = describe_source(source.name, resolve_model(str(file)))
        found = comparison.record_reference(packed, packed.load_renderer())
        difference = comparison.compare_logits(reference, found.logits)
        comparison.check_difference(difference, 0.0, source.dtype)
        file.replace(target)
    return ExportReport(
        format="package",
        path=str(target),
        source=source.name,
        source_digest=source.digest,
        dtype=source.dtype,
        max_logit_difference=difference,
        tolerance=0.0,
        num_probes=len(reference.prompts),
        num_tokens=reference.num_tokens,
        num_bytes=target.stat().st_size,
        notes=(),
        seconds=round(time.monotonic() - begin, 2),
    )


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
        settings=resolved.settings,
    )


def choose_folder(source: ExportSource, name: ExportFormat) -> Path:
    """Return where an export goes when nobody says: a place that the model's digest names."""
    return find_home() / "artifacts" / "exports" / f"{source.digest[:12]}-{name}"
