"""The `hone` command: what each subcommand takes, and how errors become exit codes."""

from __future__ import annotations

import errno
import gc
import json
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal, NoReturn

import typer

from configs.errors import TROUBLESHOOTING, HoneError, RequestError, RunError
from flows import experiment_cli, lineage_cli, publishing_cli, serving_cli
from flows.cli_options import CONTEXT_SETTINGS, EXIT_CODES, Json, ModelName, Overrides, Preset
from flows.data_cli import data_app
from flows.environment import prepare_environment

app = typer.Typer(
    name="hone",
    help="Fine-tune a language model on your data; publish it only when it is proven better.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=CONTEXT_SETTINGS,
)
app.add_typer(data_app)

# typer names only this subclass of it.
UsageError: Any = typer.BadParameter.__base__

CANCELLED = 128 + signal.SIGINT

NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
BUG_HINT = f"this is not expected: see {TROUBLESHOOTING}, or report it with `hone version`"

StageName = Literal["version", "format", "evaluate", "train", "decide", "publish"]


@app.command(epilog=EXIT_CODES)
def run(
    preset: Preset,
    overrides: Overrides = None,
    until: Annotated[
        StageName | None,
        typer.Option(help="Stop after this stage; the next run goes on from there."),
    ] = None,
    pilot: Annotated[
        bool,
        typer.Option(
            "--pilot",
            help="Train at most 100 steps, score them, and forecast time, memory and cost of the "
            "whole run; nothing is published, and the exit code is 2.",
        ),
    ] = False,
    as_json: Json = False,
) -> int:
    """Run the whole pipeline: version, format, train, evaluate, decide, publish."""
    from flows.commands.run import run_pipeline

    return run_pipeline(preset, overrides or [], until=until, pilot=pilot, as_json=as_json)


@app.command(epilog=EXIT_CODES)
def plan(preset: Preset, overrides: Overrides = None, as_json: Json = False) -> int:
    """Show everything that can be known before training."""
    from flows.commands.plan import show_plan

    return show_plan(preset, overrides or [], as_json=as_json)


app.command(epilog=EXIT_CODES)(experiment_cli.compare)
app.command(epilog=EXIT_CODES)(experiment_cli.sweep)


@app.command(epilog=EXIT_CODES)
def evaluate(
    model: ModelName,
    preset: Annotated[
        str | None, typer.Option(help="Take the data and settings from this preset.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Score this file, in any format that hone reads.")
    ] = None,
    num_samples: Annotated[
        int | None, typer.Option(min=1, help="Score only this many rows of each set.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write each answer with its scores to this JSONL file.")
    ] = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> int:
    """Score any model."""
    from flows.commands.score import score_model

    return score_model(
        model, preset=preset, data=data, num_samples=num_samples, output=output,
        overrides=overrides or [], as_json=as_json,
    )  # fmt: skip


app.command(epilog=EXIT_CODES)(publishing_cli.publish)
app.command(epilog=EXIT_CODES)(publishing_cli.rollback)
app.command(epilog=EXIT_CODES)(serving_cli.generate)
app.command(epilog=EXIT_CODES)(serving_cli.serve)
app.command(epilog=EXIT_CODES)(serving_cli.export)


app.command(epilog=EXIT_CODES)(lineage_cli.explain)
app.command(epilog=EXIT_CODES)(lineage_cli.reproduce)
app.command(epilog=EXIT_CODES)(lineage_cli.prune)


@app.command(epilog=EXIT_CODES)
def init(
    folder: Annotated[Path, typer.Argument(help="A new folder for your preset and data.")],
    as_json: Json = False,
) -> int:
    """Start your own: a preset, a data folder, and the next command to type."""
    from flows.commands.start import start_project

    return start_project(folder, as_json=as_json)


@app.command(epilog=EXIT_CODES)
def configs(as_json: Json = False) -> int:
    """List the presets: purpose, method, and the GPU memory that each needs."""
    from flows.commands.presets import show_presets

    return show_presets(as_json=as_json)


@app.command(epilog=EXIT_CODES)
def doctor(as_json: Json = False) -> int:
    """Check what works on this machine and which servers answer."""
    from flows.commands.diagnose import diagnose

    return diagnose(as_json=as_json)


@app.command(epilog=EXIT_CODES)
def version(as_json: Json = False) -> int:
    """Print hone's version, its code revision, and the libraries under it."""
    from flows.commands.about import show_version

    return show_version(as_json=as_json)


def main() -> NoReturn:
    """Run the command line and exit with the contract's code."""
    signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        prepare_environment()
        code = int(app(sys.argv[1:] or ["--help"], standalone_mode=False) or 0)
        if code == CANCELLED:  # typer makes it of a KeyboardInterrupt
            _say_cancelled()
    except UsageError as err:
        code = _show_error(_translate_usage(err))
    except HoneError as err:
        code = _show_error(err)
    except (KeyboardInterrupt, typer.Abort):
        _say_cancelled()
        code = CANCELLED
    except Exception as err:  # noqa: BLE001 - whatever it is, one clear error and the code
        code = _show_error(_explain_failure(err))
    gc.freeze()  # else the interpreter looks through all of torch once more before it ends
    sys.exit(code)


def _say_cancelled() -> None:
    print("cancelled; the same command goes on from the last checkpoint", file=sys.stderr)  # noqa: T201


def _explain_failure(err: Exception) -> RunError:
    """Return what a user can do about an unexpected failure; a bug shows where it is, too."""
    if isinstance(err, OSError) and err.errno in NO_SPACE:
        return RunError(
            message=f"no disk space: {err.filename or err}",
            hint="nothing that was complete is lost: free some space and run again",
        )
    traceback.print_exc()
    return RunError(message=f"{type(err).__name__}: {err}", hint=BUG_HINT)


def _translate_usage(err: Any) -> RequestError:
    command = err.ctx.command_path if err.ctx else "hone"
    return RequestError(
        message=err.format_message().rstrip("."), where=command, hint=f"see `{command} --help`"
    )


def _show_error(err: HoneError) -> int:
    """Print one error: a JSON object on stdout with `--json`, else text on stderr."""
    if "--json" in sys.argv:
        print(json.dumps({"error": err.to_dict()}))  # noqa: T201
    else:
        print(f"hone: {err}", file=sys.stderr)  # noqa: T201
    return err.exit_code


def _raise_terminated(signum: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    main()
