"""`hone run`: the whole flow in this process."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from configs.load import load_config
from configs.schema import EvaluationConfig
from flows.embedded_server import start_server, wait_until_healthy
from flows.logs import choose_logging, show_logs
from flows.terminal import print_json, print_table, print_text
from tasks.records.home import resolve_in_project
from tasks.records.runs import check_home
from tasks.versioning.sources import open_source

if TYPE_CHECKING:
    from flows.results import RunResult, Stage


def run_pipeline(
    preset: str, overrides: Sequence[str], *, until: Stage | None, as_json: bool
) -> int:
    """Run the flow on a preset and print its outcome.

    Returns:
        0: published, unchanged since it was, or stopped where asked; 2: the answer is no.
    """
    config = load_config(preset, overrides)
    check_home()
    open_source(config.data.source, resolve_in_project(config.data.source))  # before the server
    choose_logging()
    if start_server():  # a new HONE_HOME: nothing is cached, so all stages will run
        import_libraries()
    from flows.finetune import finetune
    from tasks.tracking.store import start_preparation

    show_logs()
    wait_until_healthy()
    start_preparation()  # MLflow's database, while the first stages run
    result = finetune(config, until=until)
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        show_result(result)
    return 0 if result.publication or until else 2


def import_libraries() -> None:
    """Import what every stage that computes needs, while the Prefect server starts.

    Not in a thread: imports change the filters of warnings, for all threads.
    """
    for name in ("torch", "transformers", "datasets", "peft"):
        importlib.import_module(name)


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
    if result.verdict:
        print_text(f"verdict  {result.verdict}")
    if result.publication:
        published = result.publication
        print_text(f"model    {published.path}  {published.uri}")
    elif result.verdict:
        print_text("model    nothing is published")


def rank_metric(name: str) -> int:
    """Return a metric's place in a table: the order of the configuration, speed last."""
    names = EvaluationConfig().metrics
    return [*names, name].index(name)
