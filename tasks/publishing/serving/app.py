"""The server's paths: OpenAI's completions and chat, health, metrics, models."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from tasks.publishing.serving.bodies import Body, ChatBody, CompletionBody, read_body
from tasks.publishing.serving.engine import Engine
from tasks.publishing.serving.exchange import Exchange
from tasks.publishing.serving.figures import Figures
from tasks.publishing.serving.guards import (
    LOOPBACK_NAMES,
    RateLimit,
    check_token,
    is_loopback,
    read_content,
)
from tasks.publishing.serving.problems import RequestRefused, describe_problem
from tasks.publishing.serving.prompts import render_chat, render_texts

CHAT_PATH = "/v1/chat/completions"
TEXT_PATH = "/v1/completions"
POLL_SECONDS = 0.5  # how soon it is noticed that nobody waits for a whole answer any more


@dataclass(frozen=True)
class ServerSettings:
    """How the server answers."""

    host: str
    token: str | None
    names: tuple[str, ...]
    """What clients may call the model."""
    max_new_tokens: int
    rate_limit: int
    """Requests a minute for each client; 0: no limit."""


class Server:
    """What the paths share: the engine, its limits and its figures."""

    def __init__(self, engine: Engine, settings: ServerSettings) -> None:
        self.engine = engine
        self.settings = settings
        self.figures = Figures(engine)
        self.limit = RateLimit(settings.rate_limit)
        self.created = int(time.time())

    async def read(self, request: Request, kind: type[Any]) -> Any:
        """Return the body of a request that may be answered.

        Raises:
            RequestRefused: It may not.
        """
        check_token(request, self.settings.token)
        self.limit.check(request.client.host if request.client else "")
        body = read_body(kind, await read_content(request))
        if body.model not in self.settings.names:
            message = f"no model {body.model!r}; this server has {self.settings.names[0]!r}"
            raise RequestRefused(404, message, "model_not_found", "model")
        return body

    def begin(self, path: str, body: Body, loop: asyncio.AbstractEventLoop) -> Exchange:
        """Put the answers to a request into the queue.

        Raises:
            RequestRefused: They cannot be written, or too many wait.
        """
        loaded = self.engine.loaded
        if loaded is None:
            raise RequestRefused(503, "another model is being loaded", "loading", retry_after=5)
        if isinstance(body, ChatBody):
            prompts = [render_chat(loaded.renderer, body)]
        else:
            assert isinstance(body, CompletionBody), type(body)
            prompts = render_texts(loaded.renderer, body)
        exchange = Exchange(path, body, prompts, self.figures, loop)
        exchange.begin(self.engine, loaded, self.settings.max_new_tokens)
        return exchange

    def describe_model(self) -> dict[str, Any]:
        """Return the one model as OpenAI lists it."""
        served = self.engine.served
        return {
            "id": self.settings.names[0],
            "object": "model",
            "created": self.created,
            "owned_by": "hone",
            "version": served.version,
            "digest": served.digest,
        }


def build_app(engine: Engine, settings: ServerSettings) -> FastAPI:
    """Return the application; the engine is started and stopped by whoever runs it."""
    app = FastAPI(title="hone", docs_url=None, redoc_url=None, openapi_url=None)
    server = Server(engine, settings)
    if settings.token is None and is_loopback(settings.host):
        # Else a page of a foreign name that leads here could ask what it likes.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK_NAMES))
    _add_problems(app, server)
    _add_answers(app, server)
    _add_looks(app, server)
    return app


def _add_answers(app: FastAPI, server: Server) -> None:
    async def answer(request: Request, path: str, kind: type[Body]) -> Response:
        body = await server.read(request, kind)
        loop = asyncio.get_running_loop()
        # Rendering takes the processor: other requests must not wait for it.
        exchange = await asyncio.to_thread(server.begin, path, body, loop)
        if body.is_stream:
            return StreamingResponse(_stream(exchange), media_type="text/event-stream")
        content = await _wait(request, exchange)
        return JSONResponse(content)

    @app.post(CHAT_PATH)
    async def complete_chat(request: Request) -> Response:
        return await answer(request, CHAT_PATH, ChatBody)

    @app.post(TEXT_PATH)
    async def complete_text(request: Request) -> Response:
        return await answer(request, TEXT_PATH, CompletionBody)


def _add_looks(app: FastAPI, server: Server) -> None:
    @app.get("/health")
    async def show_health() -> JSONResponse:
        is_alive = server.engine.is_alive
        about = {"status": "ok" if is_alive else "unavailable"}
        if is_alive:
            about |= {"model": server.settings.names[0], "version": server.engine.served.version}
        return JSONResponse(about, status_code=200 if is_alive else 503)

    @app.get("/metrics")
    async def show_metrics(request: Request) -> Response:
        check_token(request, server.settings.token)
        return Response(server.figures.write(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models")
    async def list_models(request: Request) -> dict[str, Any]:
        check_token(request, server.settings.token)
        return {"object": "list", "data": [server.describe_model()]}

    @app.get("/v1/models/{name:path}")
    async def show_model(request: Request, name: str) -> dict[str, Any]:
        check_token(request, server.settings.token)
        if name not in server.settings.names:
            raise RequestRefused(404, f"no model {name!r}", "model_not_found", "model")
        return server.describe_model()


def _add_problems(app: FastAPI, server: Server) -> None:
    @app.exception_handler(RequestRefused)
    async def refuse(request: Request, err: RequestRefused) -> JSONResponse:
        server.figures.requests.labels(_name_path(request), err.status).inc()
        return JSONResponse(err.body, status_code=err.status, headers=err.headers)

    @app.exception_handler(HTTPException)
    async def refuse_path(request: Request, err: HTTPException) -> JSONResponse:
        server.figures.requests.labels(_name_path(request), err.status_code).inc()
        body = describe_problem(err.status_code, str(err.detail), "unknown_url")
        return JSONResponse(body, status_code=err.status_code, headers=err.headers)


def _name_path(request: Request) -> str:
    """Return the path as the figures have it: a client must not make new ones."""
    path = request.url.path
    return path if path in {CHAT_PATH, TEXT_PATH, "/metrics", "/v1/models"} else "other"


async def _stream(exchange: Exchange) -> AsyncIterator[str]:
    try:
        async for event in exchange.write_events():
            yield event
    finally:
        exchange.end()


async def _wait(request: Request, exchange: Exchange) -> dict[str, Any]:
    """Return the whole response; nothing more is written once the client is gone."""
    task = asyncio.ensure_future(exchange.wait())
    try:
        while not (await asyncio.wait({task}, timeout=POLL_SECONDS))[0]:
            if await request.is_disconnected():
                raise RequestRefused(499, "the client is gone", "client_closed")
        return task.result()
    finally:
        task.cancel()
        exchange.end()
