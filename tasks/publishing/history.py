"""The registry's history: who became champion, in whose place, by whom and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.publishing.model_versions import (
    CHALLENGER,
    CHAMPION,
    PROMOTED_TAG,
    ROLLED_BACK_TAG,
    ask_registry,
    explain_registry,
    find_aliases,
    find_tags,
)
from tasks.publishing.moves import ChampionMove

if TYPE_CHECKING:
    from mlflow import MlflowClient

MOVE_TAG = "hone.move"  # of a version: how it became champion the last time
HISTORY_TAG = "hone.history."  # of the model, followed by the time: one tag a move


def move_champion(client: MlflowClient, name: str, move: ChampionMove) -> None:
    """Let the alias follow a move, and write it into the history.

    The version says first how it becomes champion, so that a move that was cut off after the
    alias is completed by the next one, or by who reads the history.
    """
    settle_history(client, name)
    with explain_registry():
        if move.replaced is not None:
            client.set_model_version_tag(name, move.replaced, PROMOTED_TAG, "true")
            if move.action == "rolled_back":
                client.set_model_version_tag(
                    name, move.replaced, ROLLED_BACK_TAG, move.model_dump_json()
                )
        client.set_model_version_tag(name, move.version, MOVE_TAG, move.model_dump_json())
        client.set_registered_model_alias(name, CHAMPION, move.version)
        client.set_model_version_tag(name, move.version, PROMOTED_TAG, "true")
        if ROLLED_BACK_TAG in find_tags(client, name, move.version):
            client.delete_model_version_tag(name, move.version, ROLLED_BACK_TAG)
        if find_aliases(client, name).get(CHALLENGER) == move.version:
            client.delete_registered_model_alias(name, CHALLENGER)
    settle_history(client, name)


def settle_history(client: MlflowClient, name: str) -> None:
    """Write the champion's move into the history, where that was cut off."""
    champion = find_aliases(client, name).get(CHAMPION)
    if champion is None:
        return
    text = find_tags(client, name, champion).get(MOVE_TAG)
    if text is None:
        return  # published before there was a history
    key = f"{HISTORY_TAG}{ChampionMove.model_validate_json(text).time}"
    with explain_registry():
        if key not in client.get_registered_model(name).tags:
            client.set_registered_model_tag(name, key, text)


def read_history(client: MlflowClient, name: str) -> list[ChampionMove]:
    """Return the moves of a model's champion, oldest first; none where it was never published."""
    with explain_registry():
        found = ask_registry(lambda: client.get_registered_model(name))
    tags = dict(found.tags) if found else {}
    keys = sorted(key for key in tags if key.startswith(HISTORY_TAG))
    return [ChampionMove.model_validate_json(tags[key]) for key in keys]


def find_rollback(client: MlflowClient, name: str, version: str) -> ChampionMove | None:
    """Return the move that took a version back; None where it was not, or is champion again."""
    if find_aliases(client, name).get(CHAMPION) == version:
        return None
    text = find_tags(client, name, version).get(ROLLED_BACK_TAG)
    return ChampionMove.model_validate_json(text) if text else None


def find_predecessor(client: MlflowClient, name: str) -> str | None:
    """Return the version that the champion replaced and that was not taken back itself.

    Where history does not say it (models of an older hone), it is the newest earlier version that
    was champion once.
    """
    champion = find_aliases(client, name).get(CHAMPION)
    assert champion is not None, name
    published = [move for move in read_history(client, name) if move.action == "published"]
    before = {move.version: move.replaced for move in published}
    version = before.get(champion)
    while version is not None and find_rollback(client, name, version):
        version = before.get(version)
    if version is not None:
        return version
    with explain_registry():
        versions = client.search_model_versions(f"name = '{name}'")
    earlier = [
        int(v.version)
        for v in versions
        if PROMOTED_TAG in v.tags
        and ROLLED_BACK_TAG not in v.tags
        and int(v.version) < int(champion)
    ]
    return str(max(earlier)) if earlier else None
