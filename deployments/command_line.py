"""How the commands of this folder end: the contract's exit codes, and one clear error."""

from __future__ import annotations

import sys
from collections.abc import Callable

from configs.errors import HoneError, RequestError
from flows.embedded_server import is_server_configured
from flows.environment import prepare_environment


def run_command(command: Callable[[], None]) -> int:
    """Run a command and return its exit code; errors are printed, without a traceback."""
    prepare_environment()
    try:
        command()
    except HoneError as err:
        print(f"hone: {err}", file=sys.stderr)  # noqa: T201 the command's output
        return err.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def say(text: str) -> None:
    """Print a line for the person at the terminal, at once."""
    print(text, flush=True)  # noqa: T201 the command's output


def require_server() -> None:
    """Refuse to go on where no Prefect server is configured: Prefect would start one of its own.

    Raises:
        RequestError: Neither the environment, nor `.env`, nor the active profile names one.
    """
    if not is_server_configured():
        raise RequestError(
            message="no Prefect server is configured",
            where="PREFECT_API_URL",
            allowed="the address of its API, such as http://127.0.0.1:4200/api",
            hint="start one with `make up`, or set the address in the environment or in .env",
        )
