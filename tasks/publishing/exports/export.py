"""An export from its source to its place: written, compared, and only then shown."""

from __future__ import annotations

import logging
import shutil
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from configs.errors import RequestError
from tasks.publishing.exports.comparison import (
    TOLERANCES,
    Reference,
    check_difference,
    compare_logits,
    make_folder_beside,
    record_reference,
)
from tasks.publishing.exports.sources import ExportSource
from tasks.records.digests import digest_files, find_versions, list_files
from tasks.records.handles import Record
from tasks.records.writing import share_folder, write_json

if TYPE_CHECKING:
    from tasks.formatting.rendering.renderer import Renderer

LOG = logging.getLogger("hone")
RECORD = "hone_export.json"
LIBRARIES = ("torch", "transformers", "peft", "onnx", "onnxruntime", "gguf")
ExportFormat = Literal["merged", "gguf", "onnx", "torchscript", "package"]
OtherFormat = Literal["merged", "gguf", "onnx", "torchscript"]


MODULES: dict[OtherFormat, str] = {
    "merged": "merged",
    "gguf": "gguf_file",
    "onnx": "onnx_graph",
    "torchscript": "torchscript",
}


class Format(Protocol):
    """What the module of a format holds."""

    def check_source(self, source: ExportSource) -> None:
        """Refuse, before anything is loaded, a model that the format does not take."""

    def write_files(
        self, source: ExportSource, renderer: Renderer, folder: Path
    ) -> tuple[str, ...]:
        """Write the export into an empty folder; return what a user should know about it."""

    def measure_files(self, folder: Path, reference: Reference) -> list[Any]:
        """Return the export's logits at every place of each prompt."""


class ExportReport(Record):
    """What was exported, and how near it is to its source."""

    format: ExportFormat
    path: str
    """The folder; of a package the file."""
    source: str
    source_digest: str
    dtype: str
    """Precision of the source, in which it was evaluated."""
    max_logit_difference: float
    tolerance: float
    num_probes: int
    num_tokens: int
    """Places at which all logits were compared."""
    num_bytes: int
    """Size of all files."""
    notes: tuple[str, ...]
    seconds: float


def export_model(
    source: ExportSource, name: OtherFormat, target: Path, tolerance: float | None = None
) -> ExportReport:
    """Write an export, compare it with its source, and put it in its place in one move.

    Args:
        source: What is exported.
        name: The format.
        target: The folder; one that an earlier export made is replaced.
        tolerance: Largest difference of logits; None for that of the source's precision.

    Raises:
        RequestError: The format does not take this model, a package is missing, or the folder
            holds something else.
        ExportRefused: It is not the model that it was made from.
    """
    begin = time.monotonic()
    check_target(target)
    chosen = load_format(name)
    chosen.check_source(source)
    renderer = source.load_renderer()
    reference = record_reference(source, renderer)
    limit = tolerance or TOLERANCES[source.dtype]
    with make_folder_beside(target) as staging:
        folder = staging / "export"
        folder.mkdir()
        notes = chosen.write_files(source, renderer, folder)
        difference = compare_logits(reference, chosen.measure_files(folder, reference))
        check_difference(difference, limit, source.dtype)
        report = ExportReport(
            format=name,
            path=str(target),
            source=source.name,
            source_digest=source.digest,
            dtype=source.dtype,
            max_logit_difference=difference,
            tolerance=limit,
            num_probes=len(reference.prompts),
            num_tokens=reference.num_tokens,
            num_bytes=sum((folder / file).stat().st_size for file in list_files(folder)),
            notes=notes,
            seconds=round(time.monotonic() - begin, 2),
        )
        write_record(folder, report)
        replace_folder(folder, target)
    return report


def check_target(target: Path) -> None:
    """Refuse to write over what no export made.

    Raises:
        RequestError: It is a file, or a folder with other content.
    """
    is_file = target.exists() and not target.is_dir()
    if is_file or (target.is_dir() and any(target.iterdir()) and not (target / RECORD).is_file()):
        raise RequestError(
            message=f"{target} is there already, and was not made by hone export",
            where="--output",
            allowed="a new folder, an empty one, or an earlier export, which is replaced",
        )


def load_format(name: OtherFormat) -> Format:
    """Return how a format is written; its libraries are imported only now."""
    return cast("Format", import_module(f"tasks.publishing.exports.{MODULES[name]}"))


def write_record(folder: Path, report: ExportReport) -> None:
    """Write what the export is beside it: source, figures, versions, and a digest of each file."""
    files = digest_files(folder, list_files(folder))
    about = report.model_dump(mode="json", exclude={"path", "seconds"})
    write_json(folder / RECORD, {**about, "files": files, "versions": find_versions(*LIBRARIES)})


def replace_folder(folder: Path, target: Path) -> None:
    """Put a complete folder in its place; what an earlier export left there goes first."""
    share_folder(folder)
    if target.exists():
        old = folder.with_name("replaced")
        target.replace(old)
        shutil.rmtree(old)
    folder.replace(target)
