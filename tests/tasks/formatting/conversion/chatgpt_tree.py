"""Conversations in the shape of ChatGPT's `conversations.json`."""

from __future__ import annotations

from typing import Any

ROOT = "client-created-root"


def make_node(
    name: str,
    parent: str,
    text: str | None,
    role: str = "user",
    *,
    parts: list[Any] | None = None,
    kind: str = "text",
    recipient: str = "all",
    **metadata: Any,
) -> dict[str, Any]:
    """A node as ChatGPT writes it; `children` is filled by `make_conversation`."""
    content: dict[str, Any] = {"content_type": kind, "parts": [text] if parts is None else parts}
    if kind in {"code", "execution_output"}:
        content = {"content_type": kind, "language": "unknown", "text": text}
    message = {
        "id": name,
        "author": {"role": role, "name": None, "metadata": {}},
        "create_time": 1700000000.5,
        "update_time": None,
        "content": content,
        "status": "finished_successfully",
        "end_turn": None,
        "weight": 1.0,
        "metadata": metadata,
        "recipient": recipient,
        "channel": None,
    }
    return {"id": name, "message": message, "parent": parent, "children": []}


def make_conversation(
    nodes: list[dict[str, Any]], current: str | None, **keys: Any
) -> dict[str, Any]:
    root = {"id": ROOT, "message": None, "parent": None, "children": []}
    mapping = {node["id"]: node for node in [root, *nodes]}
    for node in nodes:
        mapping[node["parent"]]["children"].append(node["id"])
    return {
        "title": "Sums",
        "create_time": 1700000000.25,
        "update_time": 1700000001.5,
        "mapping": mapping,
        "moderation_results": [],
        "current_node": current,
        "conversation_id": "conversation-1",
        "id": "conversation-1",
        **keys,
    }


def make_tree() -> dict[str, Any]:
    """A conversation with everything: hidden nodes, tools, an image, an edited question."""
    return make_conversation(
        [
            make_node("s", ROOT, "", "system", is_visually_hidden_from_conversation=True),
            make_node("c", "s", None, "user", kind="user_editable_context", parts=[]),
            make_node("q1", "c", "One and one?"),
            make_node("a1", "q1", "It is three.", "assistant"),
            make_node("a2", "q1", "search()", "assistant", kind="code", recipient="browser"),
            make_node("t2", "a2", "found", "tool", kind="execution_output"),
            make_node("h2", "t2", "Thinking", "assistant", kind="thoughts", parts=[]),
            make_node("a3", "h2", "Let me see.", "assistant"),
            make_node("a4", "a3", "It is two.", "assistant"),
            make_node(
                "q5", "a4", None, kind="multimodal_text",
                parts=[{"content_type": "image_asset_pointer", "asset_pointer": "x"}, "And this?"],
            ),
            make_node("a5", "q5", "It is four.", "assistant"),
            make_node("q6", "a4", "And this one?"),
            make_node("a6", "q6", "It is six.", "assistant"),
            make_node("q7", "a5", "Thanks"),
        ],
        "q7",
    )  # fmt: skip
