"""`hone serve`: a model behind OpenAI's API."""

from __future__ import annotations

import os
from contextlib import suppress

from flows.logs import choose_logging, show_logs
from tasks.records.runs import check_home


def serve_model(
    model: str,
    *,
    host: str,
    port: int,
    name: str | None,
    max_new_tokens: int,
    max_batch_size: int,
    max_waiting: int,
    rate_limit: int,
    poll_seconds: float,
) -> int:
    """Serve a model until the process is told to end, which is how a server ends well.

    Raises:
        RequestError: There is no such model, or others could reach the server without a token.
    """
    choose_logging()
    from tasks.serve import ServeSettings, serve

    show_logs()
    check_home()
    settings = ServeSettings(
        host=host, port=port, token=os.environ.get("HONE_SERVE_TOKEN") or None, name=name,
        max_new_tokens=max_new_tokens, max_batch_size=max_batch_size, max_waiting=max_waiting,
        rate_limit=rate_limit, poll_seconds=poll_seconds,
    )  # fmt: skip
    with suppress(KeyboardInterrupt, SystemExit):  # uvicorn has ended, and passes the signal on
        serve(model, settings)
    return 0
