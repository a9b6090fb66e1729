"""Serve a model behind OpenAI's API; a champion is followed wherever its alias goes."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from configs.errors import HoneError, RequestError
from tasks.publishing.registry import MODEL_URI, find_version
from tasks.publishing.serving.engine import Engine, Served
from tasks.resolve import ResolvedModel, resolve_model

if TYPE_CHECKING:
    from tasks.publishing.serving.decoding import LoadedModel

LOG = logging.getLogger("hone")
GRACE_SECONDS = 60  # for answers that were begun, when the server is told to end


@dataclass(frozen=True)
class ServeSettings:
    """How a model is served."""

    host: str
    port: int
    token: str | None
    name: str | None
    """What clients call it; None for its own name."""
    max_new_tokens: int
    max_batch_size: int
    max_waiting: int
    rate_limit: int
    """Requests a minute for each client; 0: no limit."""
    poll_seconds: float
    """How often the registry is asked for the alias."""


def serve(model: str, settings: ServeSettings) -> None:
    """Serve a model until the process is told to end.

    Args:
        model: A run folder, a checkpoint, a model folder, `models:/NAME@ALIAS`, or a hub id.
        settings: How.

    Raises:
        RequestError: There is no such model, or others could reach the server without a token.
    """
    check_reach(settings)
    with open_socket(settings.host, settings.port) as listener:
        _serve_on(listener, model, settings)


def _serve_on(listener: socket.socket, model: str, settings: ServeSettings) -> None:
    served = find_served(model, settings.name)
    engine = Engine(
        served, max_batch_size=settings.max_batch_size, max_waiting=settings.max_waiting
    )
    engine.start()
    follower = Follower(model, engine, settings)
    try:
        follower.start()
        run_server(listener, engine, model, settings)
    finally:
        follower.stop()
        engine.stop()


def check_reach(settings: ServeSettings) -> None:
    """Refuse to listen where others can ask, without a token.

    Raises:
        RequestError: With the variable that holds the token.
    """
    from tasks.publishing.serving.guards import is_loopback

    if settings.token is None and not is_loopback(settings.host):
        raise RequestError(
            message=f"everybody who reaches {settings.host} could use the model",
            where="--host",
            allowed="127.0.0.1 without a token",
            hint="set HONE_SERVE_TOKEN; clients send it as their API key",
        )


def find_served(model: str, name: str | None = None) -> Served:
    """Return a model as something that can be served.

    Args:
        model: As in `serve`.
        name: What clients call it; None for its own name.
    """
    match = MODEL_URI.fullmatch(model)
    # Asked before the folder is looked for: an alias that moves meanwhile is followed later.
    version = find_version(model) if match else None
    resolved = resolve_model(f"models:/{match['name']}/{version}" if match and version else model)
    own = match["name"] if match else model.rstrip("/").rsplit("/", maxsplit=1)[-1]
    return Served(
        name=name or own,
        version=version or "",
        digest=resolved.reference.digest,
        open=lambda: open_loaded(resolved),
    )


@contextmanager
def open_loaded(resolved: ResolvedModel) -> Iterator[LoadedModel]:
    """Give a model in memory with what it needs to answer."""
    from tasks.evaluation.generation import find_end_tokens
    from tasks.formatting.rendering.renderer import load_renderer
    from tasks.publishing.serving.decoding import LoadedModel

    renderer = load_renderer(resolved.tokenizer_folder, None, resolved.kind)
    with resolved.open() as model:
        yield LoadedModel(model, renderer, find_end_tokens(model, renderer))


class Follower:
    """Asks the registry where an alias points, and lets the engine take over what it points at."""

    def __init__(self, model: str, engine: Engine, settings: ServeSettings) -> None:
        match = MODEL_URI.fullmatch(model)
        self._is_needed = bool(match and match["alias"])
        self._model, self._engine, self._settings = model, engine, settings
        self._offered = engine.served.version
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hone-follower", daemon=True)

    def start(self) -> None:
        """Begin to look, where there is an alias to follow."""
        if self._is_needed:
            self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._ended.wait(self._settings.poll_seconds):
            try:
                self._look()
            except (HoneError, OSError) as err:  # the model that is there goes on answering
                LOG.warning("serve: the registry was asked in vain: %s", err)

    def _look(self) -> None:
        version = find_version(self._model)
        if version is None or version == self._offered:
            return
        LOG.info("serve: %s is now version %s", self._model, version)
        served = find_served(self._model, self._settings.name)
        self._offered = served.version
        self._engine.swap(served)


def open_socket(host: str, port: int) -> socket.socket:
    """Take the port before anything is loaded.

    Raises:
        RequestError: Another program has it, or the address is none of this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as err:
        raise RequestError(
            message=f"{host}:{port} cannot be listened on ({err.strerror})",
            where="--port",
            hint="another program may have it: name another port",
        ) from err


def run_server(
    listener: socket.socket, engine: Engine, model: str, settings: ServeSettings
) -> None:
    """Answer requests until the process is told to end; requests that were begun are answered."""
    import uvicorn

    from tasks.publishing.serving.app import ServerSettings, build_app

    name = engine.served.name
    app = build_app(
        engine,
        ServerSettings(
            host=settings.host,
            token=settings.token,
            names=tuple(dict.fromkeys((name, model))),
            max_new_tokens=settings.max_new_tokens,
            rate_limit=settings.rate_limit,
        ),
    )
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    LOG.info(
        "serve: %s %s at http://%s:%d/v1",
        name, engine.served.version, settings.host, listener.getsockname()[1],
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listener])
