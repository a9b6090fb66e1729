from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from configs.errors import RequestError
from tasks.publishing.model_versions import find_tags
from tasks.publishing.serving.answering import Wish
from tasks.publishing.serving.engine import Engine
from tasks.serve import Follower, ServeSettings, check_reach, find_served, open_socket, serve
from tasks.tracking.store import open_client
from tests.tasks.publishing.conftest import NAME, Workshop, enter_home

from .test_engine import ask

CHAMPION = f"models:/{NAME}@champion"
SETTINGS = ServeSettings(
    host="127.0.0.1", port=0, token=None, name=None, max_new_tokens=16, max_batch_size=2,
    max_waiting=4, rate_limit=0, poll_seconds=0.1,
)  # fmt: skip


@pytest.fixture
def own_home(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a home of its own with one published version."""
    home = tmp_path / "home"
    shutil.copytree(published, home)
    enter_home(monkeypatch, home)
    return home


def promote_copy(version: str) -> None:
    """Make a second version of the same model the champion, as another process would."""
    client = open_client()
    first = client.get_model_version(NAME, "1")
    made = client.create_model_version(NAME, source=first.source, tags=find_tags(client, NAME, "1"))
    assert str(made.version) == version
    client.set_registered_model_alias(NAME, "champion", version)


def test_the_champion_is_followed_without_a_restart(own_home: Path, workshop: Workshop) -> None:
    served = find_served(CHAMPION)
    assert (served.name, served.version) == (NAME, "1")
    engine = Engine(served, max_batch_size=2, max_waiting=4)
    engine.start()
    follower = Follower(CHAMPION, engine, SETTINGS)
    follower.start()
    try:
        [before] = ask(engine, workshop, [("What is len?", Wish(8))])
        promote_copy("2")
        deadline = time.monotonic() + 120
        while engine.served.version != "2":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        [after] = ask(engine, workshop, [("What is len?", Wish(8))])
        assert after.text == before.text
        assert (own_home / "artifacts" / "models" / NAME / "2" / "digests.json").is_file()
    finally:
        follower.stop()
        engine.stop()


def test_a_fixed_version_is_not_followed(own_home: Path) -> None:
    served = find_served(f"models:/{NAME}/1", "mine")
    assert (served.name, served.version) == ("mine", "1")
    follower = Follower(
        f"models:/{NAME}/1", Engine(served, max_batch_size=1, max_waiting=1), SETTINGS
    )
    follower.start()
    assert not follower._thread.is_alive()
    follower.stop()


def test_others_are_not_listened_to_without_a_token() -> None:
    settings = SETTINGS.__class__(**{**SETTINGS.__dict__, "host": "0.0.0.0"})  # noqa: S104
    with pytest.raises(RequestError, match="HONE_SERVE_TOKEN"):
        serve("no-such-model", settings)
    check_reach(SETTINGS.__class__(**{**settings.__dict__, "token": "secret"}))


def test_a_port_that_is_taken_is_said_before_anything_is_loaded() -> None:
    with open_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        settings = SETTINGS.__class__(**{**SETTINGS.__dict__, "port": port})
        with pytest.raises(RequestError, match="name another port"):
            serve("no-such-model", settings)
