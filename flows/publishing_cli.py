"""The commands that move the champion by hand: what they take."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli_options import Json


def publish(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run folder that ended with a decision.")
    ],
    targets: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="local|hub|package",
            help="Where it goes, instead of the run's publish.targets; may be repeated.",
        ),
    ] = None,
    repo: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="The repository on the hub.")
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody see it on the hub.")
    ] = False,
    approve: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Approve it; the reason and your name are kept."),
    ] = None,
    decision: Annotated[
        str | None,
        typer.Option(
            metavar="DIGEST",
            help="The decision that is meant, or its first 12 digits; another one is refused.",
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Publish an evaluated run under the run's own gate, or approve one that waits."""
    from flows.commands.publish import publish_run

    return publish_run(
        run, targets=targets, repo=repo, public=public, approve=approve, decision=decision,
        as_json=as_json,
    )  # fmt: skip


def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model's name.")],
    version: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="VERSION", help="By default the one that the champion replaced."
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; kept with your name.")] = "",
    as_json: Json = False,
) -> int:
    """Test an earlier version and make it champion again, with its tokenizer and template."""
    from flows.commands.publish import roll_back_model

    return roll_back_model(name, version=version, reason=reason, as_json=as_json)
