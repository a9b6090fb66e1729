"""Two small models that can be served, and a real server of one of them."""

from __future__ import annotations

import functools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import uvicorn

from tasks.evaluation.generation import find_end_tokens
from tasks.publishing.serving.app import ServerSettings, build_app
from tasks.publishing.serving.decoding import LoadedModel
from tasks.publishing.serving.engine import Engine, Served
from tasks.training.shared_base import borrow_trained
from tests.tasks.publishing.conftest import Workshop

TOKEN = "a-token-for-tests"
MakeServed = Callable[[int], Served]
StartServer = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="session")
def make_served(workshop: Workshop) -> MakeServed:
    """Return the candidate of a seed as something that can be served."""

    @contextmanager
    def open_candidate(seed: int) -> Iterator[LoadedModel]:
        with borrow_trained(
            workshop.home / f"train-{seed}" / "model",
            workshop.base.location,
            method="lora",
            dtype="float32",
            device="cpu",
        ) as model:
            yield LoadedModel(model, workshop.renderer, find_end_tokens(model, workshop.renderer))

    def make(seed: int) -> Served:
        return Served(
            "tiny-test", str(seed), f"{seed}" * 64, functools.partial(open_candidate, seed)
        )

    return make


@pytest.fixture(scope="session")
def engine(make_served: MakeServed) -> Iterator[Engine]:
    engine = Engine(make_served(1), max_batch_size=4, max_waiting=32)
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def start_server(engine: Engine) -> StartServer:
    """Return how a server of the session's engine is started; it gives its address."""

    @contextmanager
    def start(**changes: object) -> Iterator[str]:
        settings = {
            "host": "127.0.0.1",
            "token": TOKEN,
            "names": ("tiny-test", "models:/tiny-test@champion"),
            "max_new_tokens": 48,
            "rate_limit": 0,
        }
        app = build_app(engine, ServerSettings(**settings | changes))  # type: ignore[arg-type]
        with socket.create_server(("127.0.0.1", 0)) as listener:
            config = uvicorn.Config(app, log_level="error", access_log=False)
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                while not server.started:
                    time.sleep(0.02)
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True
                thread.join(timeout=60)

    return start


@pytest.fixture(scope="session")
def address(start_server: StartServer) -> Iterator[str]:
    with start_server() as address:
        yield address
