"""The `hone data` group: look at raw files, mend and split them, bring them into lakeFS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_options import CONTEXT_SETTINGS, EXIT_CODES, Json, Overrides

data_app = typer.Typer(
    name="data",
    help="Look at data, convert and split it, bring it into lakeFS, compare and watch it there.",
    invoke_without_command=True,
    rich_markup_mode=None,
    context_settings=CONTEXT_SETTINGS,
)

Percentage = typer.Option(min=0, max=100, help="Percentage of the groups of rows.")


@data_app.callback()
def show_help(context: typer.Context) -> None:
    """Look at data, convert and split it, bring it into lakeFS, compare and watch it there."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@data_app.command("inspect", epilog=EXIT_CODES)
def inspect(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE|PRESET", help="A file, folder or URI; or a preset."),
    ],
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the page, the figures and a plot to this folder.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Count tokens as this base model does (id or folder).")
    ] = None,
    by: Annotated[str, typer.Option(help="Show the balance of this field of the rows.")] = "kind",
    as_json: Json = False,
) -> int:
    """Show what a run would read: counts, lengths, duplicates, leakage, findings, warnings."""
    from flows.commands.inspect_data import inspect_data

    return inspect_data(
        source, overrides=overrides or [], output=output, base=base, by=by, as_json=as_json
    )


@data_app.command("convert", epilog=EXIT_CODES)
def convert(
    inputs: Annotated[list[Path], typer.Argument(help="Files or folders to convert.")],
    output: Annotated[Path, typer.Option(help="The file or folder to write.")],
    all_branches: Annotated[
        bool, typer.Option("--all-branches", help="Keep every branch of a conversation.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over what is there.")] = False,
    overrides: Overrides = None,
    as_json: Json = False,
) -> int:
    """Convert exports and multi-line JSON to rows that hone reads, one a line."""
    from flows.commands.convert_data import convert_data

    return convert_data(
        inputs=inputs, output=output, all_branches=all_branches, force=force,
        overrides=overrides or [], as_json=as_json,
    )  # fmt: skip


@data_app.command("split", epilog=EXIT_CODES)
def split(
    source: Annotated[
        Path, typer.Argument(metavar="FILE|FOLDER", help="Rows in any format that hone reads.")
    ],
    output: Annotated[Path, typer.Option(help="The folder to write; it must be new or empty.")],
    train: Annotated[float, Percentage] = 80.0,
    validation: Annotated[float, Percentage] = 10.0,
    test: Annotated[float, Percentage] = 10.0,
    dev: Annotated[float, Percentage] = 0.0,
    group_by: Annotated[
        str | None, typer.Option(help="The field whose rows stay together; by default the prompt.")
    ] = None,
    version: Annotated[
        int, typer.Option("--version", "--seed", min=1, help="Another number, another split.")
    ] = 1,
    allow_invalid: Annotated[
        bool, typer.Option("--allow-invalid", help="Leave broken rows out, counted and listed.")
    ] = False,
    overrides: Overrides = None,
    as_json: Json = False,
) -> int:
    """Split rows into train and evaluation files by the hash of their group."""
    from flows.commands.split_data import split_data

    return split_data(
        source, output=output, group_by=group_by, version=version, allow_invalid=allow_invalid,
        percentages={"train": train, "validation": validation, "test": test, "dev": dev},
        overrides=overrides or [], as_json=as_json,
    )  # fmt: skip


@data_app.command("push", epilog=EXIT_CODES)
def push(
    folder: Annotated[Path, typer.Argument(help="The folder whose files are pushed.")],
    repository: Annotated[str, typer.Option(help="The lakeFS repository.")],
    branch: Annotated[str, typer.Option(help="The branch that gets the commit.")],
    message: Annotated[str | None, typer.Option(help="The commit's message.")] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="The commit's metadata; may be repeated."),
    ] = None,
    path: Annotated[str, typer.Option(help="Where the files go, in the repository.")] = "",
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove what the folder does not hold.")
    ] = False,
    preset: Annotated[
        str | None, typer.Option(help="Validate the rows with this preset's data settings.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Push a folder to lakeFS: on a branch of its own, merged only when its rows are valid."""
    from flows.commands.push_data import push_data

    return push_data(
        folder=folder, repository=repository, branch=branch, message=message,
        metadata=metadata or [], path=path, delete=delete, preset=preset, as_json=as_json,
    )  # fmt: skip


@data_app.command("diff", epilog=EXIT_CODES)
def diff(
    first: Annotated[str, typer.Argument(help="The older version: a folder or lakefs:// URI.")],
    second: Annotated[str, typer.Argument(help="The newer version.")],
    overrides: Overrides = None,
    as_json: Json = False,
) -> int:
    """Count the rows that were added, removed and changed between two versions."""
    from flows.commands.diff_data import diff_data

    return diff_data(first=first, second=second, overrides=overrides or [], as_json=as_json)


@data_app.command("watch", epilog=EXIT_CODES)
def watch(
    repository: Annotated[str, typer.Option(help="The lakeFS repository.")],
    branch: Annotated[str, typer.Option(help="The branch whose data is watched.")],
    preset: Annotated[
        str | None, typer.Option(help="What the runs are of; by default what the deployment has.")
    ] = None,
    deployment: Annotated[
        str, typer.Option(metavar="FLOW/NAME", help="The deployment that a commit starts.")
    ] = "retrain/nightly",
    prefect_url: Annotated[
        str | None,
        typer.Option(help="Prefect's API as the lakeFS server reaches it; else PREFECT_API_URL."),
    ] = None,
    guard: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The server of `make guard`, which refuses broken rows."),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the hooks away again.")] = False,
    as_json: Json = False,
) -> int:
    """Have new data on a lakeFS branch start a retraining, and broken rows refused."""
    from flows.commands.watch_data import watch_data

    return watch_data(
        repository=repository, branch=branch, preset=preset, deployment=deployment,
        prefect_url=prefect_url, guard=guard, remove=remove, as_json=as_json,
    )  # fmt: skip
