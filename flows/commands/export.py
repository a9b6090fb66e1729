"""`hone export`: a model in another runtime's format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flows.logs import choose_logging, show_logs
from flows.terminal import print_json, print_text
from tasks.records.runs import check_home

if TYPE_CHECKING:
    from tasks.publishing.exports.export import ExportFormat


def export_model(
    model: str,
    *,
    name: ExportFormat,
    output: Path | None,
    tolerance: float | None,
    as_json: bool,
) -> int:
    """Export a model, and say how near the export is to it.

    Raises:
        RequestError: There is no such model, or the format does not take it.
        ExportRefused: What was written is not the model.
    """
    choose_logging()
    from tasks.export import export

    show_logs()
    check_home()
    report = export(model, name, output.resolve() if output else None, tolerance)
    if as_json:
        print_json(report.model_dump(mode="json"))
        return 0
    print_text(f"{report.path}  {report.num_bytes / 1e6:.1f} MB")
    print_text(
        f"largest difference of logits {report.max_logit_difference:.3g}, allowed "
        f"{report.tolerance:g} ({report.dtype}), at {report.num_tokens} places of "
        f"{report.num_probes} prompts"
    )
    for note in report.notes:
        print_text(f"note: {note}")
    return 0
