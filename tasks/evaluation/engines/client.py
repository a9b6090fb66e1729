"""A client of an OpenAI-compatible server, and what its errors mean here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from configs.errors import HoneError, RequestError, RunError
from tasks.records.extras import require_package

KEY_VARIABLE = "OPENAI_API_KEY"
NO_KEY = "none"  # servers on one's own machine ask for none; the client wants some text
MAX_RETRIES = 4  # of calls that the server was too busy for, with growing pauses
TIMEOUT_SECONDS = 600.0


def open_client(url: str, *, where: str) -> Any:
    """Return a client of the server at `url`, to be closed; its key is that of OPENAI_API_KEY.

    Raises:
        RequestError: The package `openai` is not installed.
    """
    require_package("openai", where=where, needed_for="an OpenAI-compatible server")
    from openai import OpenAI

    key = os.environ.get("OPENAI_API_KEY") or NO_KEY
    return OpenAI(base_url=url, api_key=key, max_retries=MAX_RETRIES, timeout=TIMEOUT_SECONDS)


@contextmanager
def explain_errors(url: str, *, where: str, asked: str) -> Iterator[None]:
    """Turn what the client raises into one clear error.

    Args:
        url: The server's address.
        where: The config key that names it.
        asked: What was asked, such as the row that was answered.

    Raises:
        RequestError: The server refuses the key, the model or the request.
        RunError: It cannot be reached, or failed.
    """
    import openai

    try:
        yield
    except HoneError:
        raise
    except (openai.AuthenticationError, openai.PermissionDeniedError) as err:
        raise RequestError(
            where=where,
            message=f"{url} refuses the key ({err.status_code})",
            hint=f"put the right one into {KEY_VARIABLE}",
        ) from err
    except (
        openai.BadRequestError, openai.NotFoundError, openai.UnprocessableEntityError
    ) as err:  # fmt: skip
        raise RequestError(
            where=where, message=f"{url} refuses {asked} ({err.status_code}): {read_words(err)}"
        ) from err
    except openai.OpenAIError as err:
        raise RunError(where=where, message=f"{url} failed at {asked}: {read_words(err)}") from err


def read_words(err: Exception) -> str:
    """Return what a server said, shortened."""
    body = getattr(err, "body", None)
    words = body.get("message") if isinstance(body, dict) else None
    return str(words or err)[:300]
