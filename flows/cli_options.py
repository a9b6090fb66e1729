"""What the commands share: the exit codes' text, and options that mean the same everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

EXIT_CODES = """Exit codes: 0 done; 2 finished, and the answer is no (not better, inconclusive);
3 the request is wrong and nothing was changed; 1 failed on the way, can be run again;
130, 143 cancelled, resumable."""

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"]}

Preset = Annotated[str, typer.Argument(help="A preset's name (see `hone configs`) or its path.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a config key; may be repeated."),
]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on stdout.")]
ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A run folder, a checkpoint, a model folder, models:/NAME@ALIAS, a package (.tar.gz), "
        "or a hub id.",
    ),
]
