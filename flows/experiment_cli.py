"""The commands that try several configurations: what they take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli_options import Json, Overrides, Preset


def compare(
    presets: Annotated[
        list[str], typer.Argument(metavar="PRESET PRESET...", help="Names or paths of presets.")
    ],
    data: Annotated[
        str | None,
        typer.Option(help="Read this source for all of them, in place of each preset's own."),
    ] = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> int:
    """Train presets on the same data, and put them side by side: memory, speed, loss, answers.

    They are scored on `dev`, else on `validation`; `test` is left to the gate.
    """
    from flows.commands.compare import compare_presets

    return compare_presets(presets, overrides or [], data=data, as_json=as_json)


def sweep(
    preset: Preset,
    space: Annotated[
        Path | None,
        typer.Option(help="What varies: a YAML or JSON file; see docs/experimenting.md."),
    ] = None,
    choices: Annotated[
        list[str] | None,
        typer.Option(
            "--set-space", metavar="KEY=A,B,C", help="Choose from these values; may be repeated."
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="What is made better; by default the metric that decides at the gate."),
    ] = None,
    direction: Annotated[
        Literal["minimize", "maximize"] | None,
        typer.Option(help="Which values are better; every metric has its own."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="How many, with those of earlier calls.")] = 20,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Begin no trial after this many seconds.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 0,
    output: Annotated[
        Path | None, typer.Option(help="Write the best settings, as a preset, to this file too.")
    ] = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> int:
    """Search for better settings on dev (else validation), and write the best as a preset.

    The same command goes on with an interrupted sweep. `test` is left to the gate.
    """
    from flows.commands.sweep import sweep_preset

    return sweep_preset(
        preset, overrides or [], space=space, choices=choices or [], metric=metric,
        direction=direction, trials=trials, timeout=timeout, seed=seed, output=output,
        as_json=as_json,
    )  # fmt: skip
