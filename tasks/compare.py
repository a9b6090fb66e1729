"""Put the arms of a comparison side by side: figures, plot, report, MLflow."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from configs.errors import RequestError
from configs.schema import NAME_PATTERN, DataConfig, RunConfig
from tasks.evaluation.comparison import (
    ComparedArm,
    Comparison,
    bound_arms,
    name_loss_unit,
    render_arms,
)
from tasks.plan import plan_resources
from tasks.records.handles import DataVersion, Evaluation, FormattedData, TrainedModel
from tasks.records.runs import RunFolder
from tasks.records.writing import write_json, write_text
from tasks.track import track
from tasks.tracking.runs import (
    finish_run,
    log_artifacts,
    log_metrics,
    log_params,
    open_run,
    set_tags,
)
from tasks.training.peak_memory import PEAK_MEMORY

if TYPE_CHECKING:
    from tasks.evaluation.significance import Bounds

LOG = logging.getLogger("hone")
PLOT = "comparison.png"
SAME_SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Contestant:
    """One configuration with the data that it would train on.

    Attributes:
        name: The preset's name.
        config: Its configuration.
        data: The data version.
        formatted: The formatted data.
    """

    name: str
    config: RunConfig
    data: DataVersion
    formatted: FormattedData


def check_names(configs: Mapping[str, RunConfig]) -> None:
    """Refuse fewer than two configurations, and names that are no folder's.

    Raises:
        RequestError: There is nothing to compare, or a name cannot be a folder's.
    """
    if len(configs) < 2:
        raise RequestError(
            message=f"found {len(configs)} to compare", where="compare", allowed="two or more"
        )
    for name in configs:
        if re.fullmatch(NAME_PATTERN, name) is None:
            raise RequestError(
                message=f"found the name {name!r}",
                where="compare",
                allowed="letters, digits, '.', '_' and '-', a letter or digit first",
            )


def check_same_data(contestants: Sequence[Contestant], split: str) -> None:
    """Refuse configurations that do not learn from, or are not scored on, the same examples.

    Raises:
        RequestError: Naming the settings of `data` that differ, or the splits that do.
    """
    first, *others = contestants
    for other in others:
        splits = [
            name
            for name in dict.fromkeys([*SAME_SPLITS, split])
            if _digest_split(first, name) != _digest_split(other, name)
        ]
        if splits:
            differing = list_differences(first.config.data, other.config.data)
            raise RequestError(
                message=f"{first.name} and {other.name} have different data: "
                f"{', '.join(splits)} {'do' if len(splits) > 1 else 'does'} not hold the same rows",
                where=f"{first.name}, {other.name}",
                allowed="presets that train on and are scored on the same rows",
                hint="name one source for all with --data, or set what differs with --set",
                problems=differing or (f"what is filtered or split off differs: {splits[0]}",),
            )


def list_differences(one: DataConfig, other: DataConfig) -> tuple[str, ...]:
    """Return the settings in which two differ, one line each."""
    first, second = one.model_dump(mode="json"), other.model_dump(mode="json")
    return tuple(
        f"data.{name}: {first[name]!r} and {second[name]!r}"
        for name in first
        if first[name] != second[name]
    )


def _digest_split(contestant: Contestant, split: str) -> str | None:
    found = contestant.formatted.splits.get(split)
    return found.digest if found else None


def describe_arm(
    contestant: Contestant,
    trained: TrainedModel,
    evaluation: Evaluation,
    bounds: Mapping[str, Bounds],
    run_dir: str,
) -> ComparedArm:
    """Return what is known of an arm."""
    measured = trained.metrics.get(PEAK_MEMORY)
    memory = measured or find_planned_memory(contestant)
    stages = {"train": trained, "evaluate": evaluation}
    return ComparedArm(
        name=contestant.name,
        method=contestant.config.model.method,
        memory_bytes=int(memory) if memory else None,
        memory_source="measured" if measured else "predicted" if memory else "unknown",
        tokens_per_second=trained.metrics.get("tokens_per_second"),
        training_seconds=trained.metrics["seconds"],
        num_trainable_parameters=trained.num_trainable_parameters,
        model_bytes=trained.num_bytes,
        loss=bounds["nll"].value,
        perplexity=bounds["perplexity"].value,
        exact_match=bounds["exact_match"].value if "exact_match" in bounds else None,
        run_dir=run_dir,
        reused=tuple(name for name, handle in stages.items() if handle.reused),
    )


def find_planned_memory(contestant: Contestant) -> int | None:
    """Return the predicted peak, or None where config.json does not tell."""
    planned = plan_resources(contestant.config, contestant.data, contestant.formatted)
    found: int | None = planned["memory_bytes"]
    return found


@task(name="compare", cache_policy=NO_CACHE)
def compare_arms(
    family: RunFolder,
    contestants: Sequence[Contestant],
    outcomes: Sequence[tuple[TrainedModel, Evaluation]],
    split: str,
) -> Comparison:
    """Write the comparison's table and plot, and show them where people look."""
    from tasks.evaluation.arm_plots import plot_arms
    from tasks.evaluation.predictions import read_splits

    names = [contestant.name for contestant in contestants]
    evaluations = [evaluation for _, evaluation in outcomes]
    same = len({evaluation.template_digest for evaluation in evaluations}) == 1
    rows = [read_splits(evaluation.folder)[split] for evaluation in evaluations]
    bounds = bound_arms(dict(zip(names, rows, strict=True)), same_tokenizer=same)
    comparison = Comparison(
        name=family.name,
        path=family.path,
        split=split,
        rows=len(rows[0]),
        loss_unit=name_loss_unit(same_tokenizer=same),
        arms=tuple(
            describe_arm(c, *outcome, bounds[c.name], f"{family.path}/{c.name}")
            for c, outcome in zip(contestants, outcomes, strict=True)
        ),
        plot=f"{family.path}/{PLOT}",
    )
    plot_arms(family.folder / PLOT, comparison, bounds)
    write_text(family.folder / "report.md", render_arms(comparison, bounds, PLOT))
    write_json(family.folder / "comparison.json", comparison.model_dump(mode="json"))
    show_comparison(family.folder, comparison)
    return comparison


def show_comparison(folder: Path, comparison: Comparison) -> None:
    """Show the table in the Prefect UI."""
    rows = [arm.model_dump(mode="json", exclude={"reused"}) for arm in comparison.arms]
    create_table_artifact(rows, key="comparison", description=f"Scored on {comparison.split}")
    text = (folder / "report.md").read_text(encoding="utf-8")
    create_markdown_artifact(text, key="comparison-report")


def start_comparison(family: RunFolder, configs: Mapping[str, RunConfig]) -> None:
    """Open the comparison's run in MLflow, so that the arms' runs can stand below it."""
    project = next(iter(configs.values())).tracking.project
    tracked = open_run(project, family.name)
    log_params(tracked, {"presets": ", ".join(configs)})
    set_tags(tracked, {"hone.kind": "comparison"})


@contextmanager
def track_arm(contestant: Contestant, run: RunFolder) -> Iterator[dict[str, dict[str, float]]]:
    """Have an arm's run in MLflow end as the block does, with the metrics that the block put in."""
    tracked = track(contestant.config, run, contestant.data)
    metrics: dict[str, dict[str, float]] = {}
    try:
        yield metrics
    except BaseException:
        finish_run(tracked, "FAILED")
        raise
    for split, found in metrics.items():
        log_metrics(tracked, {f"finetuned/{split}/{name}": v for name, v in found.items()})
    finish_run(tracked)


def track_comparison(family: RunFolder, comparison: Comparison, project: str) -> None:
    """Record the arms' figures, the report and the plot in the comparison's run."""
    tracked = open_run(project, family.name)
    for arm in comparison.arms:
        figures = arm.model_dump(include={
            "memory_bytes", "tokens_per_second", "training_seconds", "loss", "perplexity",
            "exact_match",
        })  # fmt: skip
        known = {f"{arm.name}/{n}": float(v) for n, v in figures.items() if v is not None}
        log_metrics(tracked, known)
    log_artifacts(tracked, [family.folder / n for n in ("report.md", PLOT, "comparison.json")])
    finish_run(tracked)
