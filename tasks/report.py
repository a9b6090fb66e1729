"""Write a run's report and plots, and show them where people look: folder, Prefect, MLflow."""

from __future__ import annotations

import base64
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.errors import RequestError
from configs.schema import RunConfig
from tasks.figures import LENGTHS, PLOTS, describe_drawing, draw_figures, read_intervals
from tasks.judge import judge_arms
from tasks.keep import keep_provenance
from tasks.records.digests import digest_code, digest_file, find_versions
from tasks.records.entries import reuse_or_build
from tasks.records.handles import Arm, Handle, WholeRun
from tasks.records.home import find_home
from tasks.records.results import StageResults
from tasks.records.runs import RunFolder, discard_run_folder, link_results, write_run_manifest
from tasks.records.stage_fields import name_fields
from tasks.records.writing import write_json, write_text
from tasks.track import log_inputs, send_what_is_left, track
from tasks.tracking.runs import finish_run, log_artifacts, log_metrics, open_run, set_tags
from tasks.tracking.store import find_tracking_uri, has_server, hide_password

if TYPE_CHECKING:
    from tasks.evaluation.judge import Judged

LOG = logging.getLogger("hone")
SLICES = "slices.json"
WRITTEN = ("report.md", "report.html", "metrics.json", SLICES, "plots")
TRACKED = "tracked"  # the file that says that MLflow has these results


@task(name="report", cache_policy=NO_CACHE)
def report(run: RunFolder, config: RunConfig, results: StageResults) -> None:
    """Write the report, link the stages' results into the run folder, and tell the trackers."""
    written = write_report(config, results)
    links = {name: written.folder / name for name in WRITTEN if (written.folder / name).exists()}
    links |= {f"predictions/{arm}": e.folder / "predictions" for arm, e in results.arms.items()}
    if results.formatted:
        links["data"] = results.formatted.folder
    link_results(run, links)
    tracked = written.folder / TRACKED
    if not (written.reused and results.is_reused and tracked.is_file()):
        track_run(run, config, results, written.folder)
        tracked.touch()
    write_run_manifest(run, results.describe())
    show_report(written.folder)
    LOG.info(
        "report: %s/report.md and report.html", run.path,
        extra=name_fields("report", run=run.path),
    )  # fmt: skip


def write_report(config: RunConfig, results: StageResults) -> Handle:
    """Return the report of these results, from the cache where they were reported before."""
    judged = judge_arms(config, results)
    key = {
        "judged": {arm: asdict(found) for arm, found in judged.items()},
        "results": {name: handle.digest for name, handle in sorted(results.handles.items())},
        "title": config.publish.name,
        "slice_by": config.evaluation.slice_by,
        "code": digest_code(
            "tasks.evaluation",
            "tasks.report",
            "tasks.figures",
            "tasks.formatting.inspection.length_plot",
        ),
        "versions": find_versions("matplotlib"),
    }
    return reuse_or_build(
        "report", key, Handle, lambda entry: _build(config, results, judged, entry)
    )


def _build(
    config: RunConfig, results: StageResults, judged: Mapping[Arm, Judged], entry: Path
) -> Handle:
    from tasks.evaluation.html_page import render_page
    from tasks.evaluation.predictions import read_splits
    from tasks.evaluation.report import render_report
    from tasks.evaluation.slices import slice_splits

    drawing = describe_drawing(config, results)
    figures = draw_figures(drawing)
    predictions = {arm: read_splits(e.folder) for arm, e in results.arms.items()}
    slices = {
        arm: slice_splits(splits, config.evaluation.slice_by, config.evaluation.metric_names)
        for arm, splits in predictions.items()
    }
    for name in (PLOTS, "data"):
        if (figures.folder / name).is_dir():
            shutil.copytree(figures.folder / name, entry / name)
    text = render_report(
        title=config.publish.name,
        decision=results.decision,
        publication=results.publication,
        evaluations=results.arms,
        intervals=read_intervals(figures, drawing),
        predictions=predictions,
        slices=slices,
        judged=judged,
        trained=results.trained,
        formatted=results.formatted,
        data=results.data,
        plots={caption: f"{PLOTS}/{name}" for caption, name in figures.plots},
        split=results.shown_split,
        forecast=results.forecast.whole if results.forecast else None,
    )
    write_text(entry / "report.md", text)
    write_text(entry / "report.html", render_page(text, read_images(entry)))
    write_json(entry / "metrics.json", {arm: e.metrics for arm, e in results.arms.items()})
    if config.evaluation.slice_by:
        write_json(entry / SLICES, slices)
    return Handle(
        path=entry.relative_to(find_home()).as_posix(), digest=digest_file(entry / "report.md")
    )


def read_images(entry: Path) -> dict[str, bytes]:
    """Return the plots of a report by their path in it."""
    return {f"{PLOTS}/{p.name}": p.read_bytes() for p in sorted((entry / PLOTS).glob("*.png"))}


def track_run(run: RunFolder, config: RunConfig, results: StageResults, written: Path) -> None:
    """Record the run in MLflow: parameters, lineage, figures, report and plots."""
    assert results.data, "the first stage has not run"
    assert results.formatted, "the second stage has not run"
    tracked = track(config, run, results.data)
    log_inputs(tracked, results.data, results.formatted)
    if results.trained:
        send_what_is_left(tracked, config, run, results.data, results.trained.folder)
    for arm, evaluation in results.arms.items():
        for split, metrics in evaluation.metrics.items():
            log_metrics(tracked, {f"{arm}/{split}/{name}": v for name, v in metrics.items()})
    if results.forecast:
        set_tags(tracked, {"hone.pilot": "true"})
        log_metrics(tracked, list_forecasts(results.forecast.whole))
    pages = [written / name for name in WRITTEN if (written / name).exists()]
    log_artifacts(tracked, [*pages, run.folder / "config.yaml"])
    pages = [results.formatted.folder / name for name in ("data_report.md", "preview.md")]
    log_artifacts(tracked, [*pages, written / LENGTHS], folder="data")
    keep_provenance(tracked, run, config, results.handles)
    finish_run(tracked)


def list_forecasts(forecast: WholeRun) -> dict[str, float]:
    """Return a forecast's figures as metrics."""
    names = ("tokens_per_second", "hours", "money", "memory_bytes")
    found = {name: getattr(forecast, name) for name in names}
    return {f"forecast/{name}": value for name, value in found.items() if value is not None}


def end_badly(run: RunFolder, config: RunConfig, err: BaseException) -> None:
    """Leave a failed or cancelled run as one that is known to have ended.

    The folder of a run whose request was wrong is removed: nothing half-written stays.
    """
    try:
        tracked = open_run(config.tracking.project, run.name, config.tracking.run_name)
        finish_run(tracked, "FAILED" if isinstance(err, Exception) else "KILLED")
    except Exception as problem:  # noqa: BLE001 - what ended the run matters more
        LOG.warning("MLflow could not be told that the run ended: %s", hide_password(str(problem)))
    if isinstance(err, RequestError):
        discard_run_folder(run)


def close_record(run: RunFolder, config: RunConfig) -> None:
    """Leave the record of a run that had ended well, and was opened again, as it was."""
    try:
        finish_run(open_run(config.tracking.project, run.name, config.tracking.run_name))
    except Exception as problem:  # noqa: BLE001 - what went wrong before matters more
        LOG.warning("MLflow could not be told that the run ended: %s", hide_password(str(problem)))


def show_report(written: Path) -> None:
    """Show the report and its plots in the Prefect UI, and where MLflow is."""
    text = (written / "report.md").read_text(encoding="utf-8")
    create_markdown_artifact(_inline_plots(text, written), key="report")
    for key, plot in (("loss-curve", "plots/loss.png"), ("row-lengths", LENGTHS)):
        if (written / plot).is_file():
            create_markdown_artifact(f"![{key}]({_encode_image(written / plot)})", key=key)
    uri = find_tracking_uri()
    if has_server(uri):
        create_link_artifact(hide_password(uri), "MLflow", key="mlflow")


def _inline_plots(text: str, written: Path) -> str:
    """Replace the paths of plots by their content: the UI cannot read the run folder."""
    for plot in sorted((written / "plots").glob("*.png")):
        text = text.replace(f"(plots/{plot.name})", f"({_encode_image(plot)})")
    return text


def _encode_image(image: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(image.read_bytes()).decode()}"
