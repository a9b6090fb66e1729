"""`hone run`: the whole flow in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from configs.load import load_config
from configs.schema import EvaluationConfig
from flows.commands.publish import show_waiting
from flows.in_process import run_in_process
from flows.results import check_pilot
from flows.terminal import print_json, print_table, print_text
from tasks.records.home import resolve_in_project
from tasks.records.runs import check_home
from tasks.versioning.sources import open_source

if TYPE_CHECKING:
    from flows.results import RunResult, Stage
    from tasks.records.handles import WholeRun


def run_pipeline(
    preset: str,
    overrides: Sequence[str],
    *,
    until: Stage | None,
    pilot: bool = False,
    as_json: bool,
) -> int:
    """Run the flow on a preset and print its outcome.

    Returns:
        0: published, unchanged since it was, or stopped where asked; 2: the answer is no, or
            there is none, as in a pilot.
    """
    check_pilot(pilot=pilot, until=until)
    config = load_config(preset, overrides)
    check_home()
    open_source(config.data.source, resolve_in_project(config.data.source))  # before the server
    result = run_in_process(config, until, pilot=pilot)
    if as_json:
        print_json(result.to_json())
    else:
        show_result(result)
    return 2 if is_declined(result, until) else 0


def is_declined(result: RunResult, until: Stage | None) -> bool:
    """Return whether the answer is no: the verdict is, or a whole run published nothing."""
    if until is None:
        return result.publication is None
    return result.verdict not in {None, "better"}


def show_result(result: RunResult) -> None:
    """Print a run's outcome for a person."""
    for split in sorted({split for by_split in result.metrics.values() for split in by_split}):
        arms = [arm for arm in result.metrics if split in result.metrics[arm]]
        names = sorted(result.metrics[arms[0]][split], key=rank_metric)
        rows = [[name, *(f"{result.metrics[a][split][name]:.4g}" for a in arms)] for name in names]
        print_table([split, *arms], rows)
    stages = ", ".join(
        f"{name} {seconds:.1f} s{' (reused)' if name in result.reused else ''}"
        for name, seconds in result.seconds.items()
    )
    print_text(f"stages   {stages}")
    if result.run_dir:
        print_text(f"report   {result.run_dir}/report.md")
    if result.pilot:
        show_forecast(result.pilot)
    if result.verdict:
        print_text(f"verdict  {result.verdict}")
    if result.publication:
        published = result.publication
        print_text(f"model    {published.path}  {published.uri}")
    elif result.waiting:
        show_waiting(result)
    elif result.verdict:
        print_text("model    nothing is published")


def show_forecast(forecast: WholeRun) -> None:
    """Print what the whole run will take."""
    from tasks.evaluation.forecasts import describe_forecast

    print_text(f"pilot    scored on {forecast.split}; nothing is decided or published")
    print_text("the whole run will take:")
    for label, text in describe_forecast(forecast).items():
        print_text(f"  {label:<11}{text}")


def rank_metric(name: str) -> int:
    """Return a metric's place in a table: the order of the configuration, speed last."""
    names = EvaluationConfig().metrics
    return [*names, name].index(name)
