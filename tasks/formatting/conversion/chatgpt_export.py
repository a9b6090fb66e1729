"""Conversations of a ChatGPT export: a tree of nodes, of which one branch is what was shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from tasks.formatting.rows.examples import Message

TEXT_TYPES = ("text", "multimodal_text")
THOUGHT_TYPES = ("thoughts", "reasoning_recap")
CONTEXT_TYPES = ("user_editable_context", "model_editable_context")
# Parts that are not written but say words.
SPOKEN_PART = "audio_transcription"
Node = Mapping[str, Any]


@dataclass(frozen=True)
class LeftOut:
    """Something that is not carried over: where it stands, a name to count by, and words."""

    where: str
    reason: str
    detail: str


def is_chatgpt_conversation(row: Mapping[str, Any]) -> bool:
    """Return whether a row is a conversation of ChatGPT's `conversations.json`."""
    return isinstance(row.get("mapping"), dict)


def find_id(row: Mapping[str, Any]) -> str:
    """Return the id of a conversation; empty when it has none."""
    return str(row.get("conversation_id") or row.get("id") or "")


def convert_conversation(
    row: Mapping[str, Any], where: str, *, all_branches: bool
) -> Iterator[dict[str, Any] | LeftOut]:
    """Yield a conversation as rows of messages, and what is left out of it.

    The branch that ends in `current_node` is what the user last saw; the others stand for edited
    questions and repeated answers. Turns of one role that follow each other become one.

    Args:
        row: An element of `conversations.json`.
        where: Its place, for what is left out.
        all_branches: Whether each branch becomes a row; otherwise the others are left out.

    Yields:
        Rows with the keys `messages`, `group` (the conversation's id), `title`, `create_time` and,
        with `all_branches`, `branch` (a running number, from 1, in the order of the tree).
    """
    mapping = row["mapping"]
    paths = [_follow_to_root(mapping, leaf) for leaf in _choose_leaves(row, all_branches)]
    if not paths:
        yield LeftOut(where, "broken_tree", "the tree of messages has no root or no nodes")
    yield from _list_unshown(mapping, {name for path in paths for name in path}, where)
    seen: set[tuple[Message, ...]] = set()
    told: set[LeftOut] = set()
    for number, path in enumerate(paths, start=1):
        turns, left_out = _read_path([(n, mapping[n]) for n in path], where)
        yield from (item for item in left_out if item not in told)
        told.update(left_out)
        messages = tuple(turns)
        if not any(message.role == "assistant" for message in messages):
            yield LeftOut(where, "no_answer", f"branch {number} holds no question with an answer")
        elif messages in seen:
            yield LeftOut(where, "same_branch", f"branch {number} says what an earlier one says")
        else:
            seen.add(messages)
            yield _make_row(row, where, messages, number if all_branches else None)


def _choose_leaves(row: Mapping[str, Any], all_branches: bool) -> list[str]:
    leaves = list(_list_leaves(row["mapping"]))
    current = row.get("current_node")
    if all_branches or not isinstance(current, str) or current not in row["mapping"]:
        return leaves if all_branches else leaves[-1:]
    return [current]


def _list_leaves(mapping: Mapping[str, Node]) -> Iterator[str]:
    """Yield the nodes without children, in the order of the tree."""
    roots = [name for name, node in mapping.items() if _get_parent(mapping, node) is None]
    waiting = roots[::-1]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        found = _get(mapping[name], "children", list)
        children = [c for c in found if isinstance(c, str) and c in mapping]
        if not children:
            yield name
        waiting += children[::-1]


def _follow_to_root(mapping: Mapping[str, Node], leaf: str) -> list[str]:
    path: dict[str, None] = {}
    name: str | None = leaf
    while name is not None and name not in path:
        path[name] = None
        name = _get_parent(mapping, mapping[name])
    return list(path)[::-1]


def _get_parent(mapping: Mapping[str, Node], node: Node) -> str | None:
    parent = node.get("parent") if isinstance(node, dict) else None
    return parent if isinstance(parent, str) and parent in mapping else None


def _list_unshown(mapping: Mapping[str, Node], shown: set[str], where: str) -> Iterator[LeftOut]:
    for name, node in mapping.items():
        if name not in shown and _get(node, "message", dict):
            yield LeftOut(f"{where}, node {name}", "other_branch", "stands on another branch")


def _read_path(path: list[tuple[str, Node]], where: str) -> tuple[list[Message], list[LeftOut]]:
    """Return the turns along a path from the first question to the last answer, and the rest."""
    turns: list[tuple[str, Message]] = []
    left_out: list[LeftOut] = []
    for name, node in path:
        place = f"{where}, node {name}"
        message = _get(node, "message", dict)
        if not message:  # the root, which only holds the tree together
            continue
        if reason := _find_reason(message):
            left_out.append(LeftOut(place, *reason))
            continue
        text, num_foreign = _read_parts(message["content"])
        if num_foreign:
            detail = f"{num_foreign} parts that are no text, such as images"
            left_out.append(LeftOut(place, "non_text_part", detail))
        if text.strip():
            turns.append((place, Message(message["author"]["role"], text)))
        elif not num_foreign:
            left_out.append(LeftOut(place, "empty", "no text"))
    first, end = _find_bounds([message.role for _, message in turns])
    for place, message in turns[:first]:
        if message.role == "assistant":
            left_out.append(LeftOut(place, "no_question", "an answer before the first question"))
    left_out += [LeftOut(p, "no_answer", "nobody answers this turn") for p, _ in turns[end:]]
    kept = [m for i, (_, m) in enumerate(turns[:end]) if i >= first or m.role == "system"]
    return _merge_turns(kept), left_out


def _find_bounds(roles: list[str]) -> tuple[int, int]:
    """Return where the first question stands, and where the last answer ends."""
    first = roles.index("user") if "user" in roles else len(roles)
    answers = [place for place, role in enumerate(roles) if role == "assistant" and place > first]
    return first, answers[-1] + 1 if answers else first


def _merge_turns(messages: list[Message]) -> list[Message]:
    return [
        Message(role, "\n\n".join(message.content for message in group))
        for role, group in groupby(messages, key=lambda message: message.role)
    ]


def _find_reason(message: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return why a message is no turn of the conversation, or None when it is one."""
    # Values of any type may stand here: they are compared, never hashed.
    role = _get(message, "author", dict).get("role")
    kind = _get(message, "content", dict).get("content_type")
    recipient = message.get("recipient") or "all"
    is_hidden = _get(message, "metadata", dict).get("is_visually_hidden_from_conversation")
    checks = (
        (is_hidden, "hidden", f"a {role} node that ChatGPT did not show"),
        (role == "tool", "tool", f"what a tool answered ({kind})"),
        (role not in ("system", "user", "assistant"), "unknown_role", f"the role {role!r}"),
        (role == "assistant" and recipient != "all", "tool_call", f"a call of {recipient!r}"),
        (kind in THOUGHT_TYPES, "thoughts", "what the model thought before it answered"),
        (kind in CONTEXT_TYPES, "context", "the profile and instructions of the user"),
        (kind not in TEXT_TYPES, "non_text", f"content of the type {kind!r}"),
    )
    return next(((reason, detail) for holds, reason, detail in checks if holds), None)


def _read_parts(content: Mapping[str, Any]) -> tuple[str, int]:
    """Return the text of a message's parts, and the number of the other parts."""
    texts: list[str] = []
    num_foreign = 0
    for part in _get(content, "parts", list):
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("content_type") == SPOKEN_PART:
            texts.append(str(part.get("text") or ""))
        else:
            num_foreign += 1
    return "\n\n".join(text for text in texts if text.strip()), num_foreign


def _make_row(
    row: Mapping[str, Any], where: str, messages: tuple[Message, ...], branch: int | None
) -> dict[str, Any]:
    name = find_id(row) or where
    found = {"group": name, "title": row.get("title"), "create_time": row.get("create_time")}
    turns = [{"role": message.role, "content": message.content} for message in messages]
    fields = {key: value for key, value in {**found, "branch": branch}.items() if value is not None}
    return {"messages": turns, **fields}


def _get(value: Any, key: str, kind: type[Any]) -> Any:
    """Return what stands under a key, or an empty one where it is missing or of another kind."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, kind) else kind()
