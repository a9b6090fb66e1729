"""The commands about what was made and kept: what they take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_options import Json, ModelName


def explain(
    model: ModelName,
    mermaid: Annotated[
        bool, typer.Option("--mermaid", help="Print the chain as a Mermaid flow chart.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Write the flow chart to this file (.mmd, or .md).")
    ] = None,
    as_json: Json = False,
) -> int:
    """Show what a model was made from: decision, evaluation, run, data commit, code, machine."""
    from flows.commands.explain import explain_model

    return explain_model(model=model, mermaid=mermaid, output=output, as_json=as_json)


def reproduce(model: ModelName, as_json: Json = False) -> int:
    """Train a model again from its record and compare: 0 the same came out, 2 it did not."""
    from flows.commands.reproduce import reproduce_model

    return reproduce_model(model, as_json=as_json)


def prune(
    older_than_days: Annotated[
        float | None,
        typer.Option(min=0, help="Runs and results that nothing has used for so many days go."),
    ] = None,
    keep: Annotated[int | None, typer.Option(min=1, help="So many runs stay, the newest.")] = None,
    max_gb: Annotated[
        float | None, typer.Option(help="What HONE_HOME may take altogether, in 10^9 bytes.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Remove old runs and cached results; never a published model or what explains it.

    What is not given here has the default of configs/retention.py (docs/lineage.md).
    """
    from flows.commands.prune import prune_runs

    asked = {"older_than_days": older_than_days, "keep": keep, "max_gb": max_gb}
    return prune_runs(
        {name: value for name, value in asked.items() if value is not None},
        dry_run=dry_run, as_json=as_json,
    )  # fmt: skip
