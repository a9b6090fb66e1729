from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.formatting.conversion.chatgpt_export import LeftOut, convert_conversation
from tests.tasks.formatting.conversion.chatgpt_tree import (
    ROOT,
    make_conversation,
    make_node,
    make_tree,
)

Items = list[Any]


def convert(row: dict[str, Any], *, all_branches: bool = False) -> tuple[Items, Counter[str]]:
    items = list(convert_conversation(row, "c.json:1", all_branches=all_branches))
    rows = [item for item in items if not isinstance(item, LeftOut)]
    return rows, Counter(item.reason for item in items if isinstance(item, LeftOut))


def list_turns(row: dict[str, Any]) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in row["messages"]]


def test_the_branch_to_the_current_node_is_followed_and_the_rest_is_listed() -> None:
    rows, left_out = convert(make_tree())
    assert [list_turns(row) for row in rows] == [
        [
            ("user", "One and one?"),
            ("assistant", "Let me see.\n\nIt is two."),
            ("user", "And this?"),
            ("assistant", "It is four."),
        ]
    ]
    assert {key: rows[0][key] for key in rows[0] if key != "messages"} == {
        "group": "conversation-1", "title": "Sums", "create_time": 1700000000.25,
    }  # fmt: skip
    assert left_out == {
        "hidden": 1, "context": 1, "tool_call": 1, "tool": 1, "thoughts": 1, "non_text_part": 1,
        "no_answer": 1, "other_branch": 3,
    }  # fmt: skip


def test_all_branches_are_rows_of_one_group() -> None:
    rows, left_out = convert(make_tree(), all_branches=True)
    last = [list_turns(row)[-1] for row in rows]
    assert last == [
        ("assistant", "It is three."), ("assistant", "It is four."), ("assistant", "It is six."),
    ]  # fmt: skip
    assert [(row["group"], row["branch"]) for row in rows] == [
        ("conversation-1", 1), ("conversation-1", 2), ("conversation-1", 3),
    ]  # fmt: skip
    assert "other_branch" not in left_out
    assert left_out["hidden"] == 1  # a node of all branches is listed once


def test_branches_that_say_the_same_are_one_row() -> None:
    nodes = [
        make_node("q", ROOT, "One?"),
        make_node("a", "q", "1", "assistant"),
        make_node("b", "q", "1", "assistant"),
    ]
    rows, left_out = convert(make_conversation(nodes, "a"), all_branches=True)
    assert len(rows) == 1
    assert left_out == {"same_branch": 1}


@pytest.mark.parametrize("current", [None, "gone", ["no", "name"]])
def test_without_a_current_node_the_last_branch_counts(current: Any) -> None:
    nodes = [
        make_node("q", ROOT, "One?"),
        make_node("a", "q", "1", "assistant"),
        make_node("b", "q", "one", "assistant"),
    ]
    rows, _ = convert(make_conversation(nodes, current))
    assert list_turns(rows[0])[-1] == ("assistant", "one")


def test_spoken_words_are_text() -> None:
    heard = {"content_type": "audio_transcription", "text": "One?", "direction": "in"}
    sound = {"content_type": "real_time_user_audio_video_asset_pointer"}
    nodes = [
        make_node("q", ROOT, None, kind="multimodal_text", parts=[heard, sound]),
        make_node("a", "q", "1", "assistant"),
    ]
    rows, left_out = convert(make_conversation(nodes, "a"))
    assert list_turns(rows[0]) == [("user", "One?"), ("assistant", "1")]
    assert left_out == {"non_text_part": 1}


def test_a_tree_that_is_a_circle_is_told() -> None:
    row = make_conversation([make_node("q", ROOT, "One?")], "gone")
    row["mapping"][ROOT]["parent"] = "q"
    rows, left_out = convert(row)
    assert rows == []
    assert left_out == {"broken_tree": 1, "other_branch": 1}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["a", "b", "text", "user", "all"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["a", "b", "parent", "children", "message", "author", "role", "content",
                 "content_type", "parts", "metadata", "recipient"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)  # fmt: skip


@given(
    mapping=st.dictionaries(st.sampled_from(["a", "b", "c"]), JSON),
    current=JSON,
    all_branches=st.booleans(),
)
def test_any_tree_is_rows_or_says_why_not(
    mapping: dict[str, Any], current: Any, all_branches: bool
) -> None:
    row = {"mapping": mapping, "current_node": current}
    rows, left_out = convert(row, all_branches=all_branches)
    assert rows or left_out


@given(
    parents=st.lists(st.integers(0, 30), min_size=1, max_size=12),
    texts=st.lists(st.text(min_size=1).filter(str.strip), min_size=12, max_size=12),
)
def test_every_node_is_in_a_row_or_listed(parents: list[int], texts: list[str]) -> None:
    nodes, roles = [], {ROOT: "assistant"}
    for number, (parent, text) in enumerate(zip(parents, texts, strict=False)):
        above = list(roles)[parent % len(roles)]
        roles[f"n{number}"] = "user" if roles[above] == "assistant" else "assistant"
        nodes.append(make_node(f"n{number}", above, text, roles[f"n{number}"]))
    row = make_conversation(nodes, f"n{len(nodes) - 1}")
    items = list(convert_conversation(row, "c", all_branches=False))
    listed = {item.where for item in items if isinstance(item, LeftOut)} - {"c"}
    kept = [turn for item in items if not isinstance(item, LeftOut) for turn in item["messages"]]
    assert len(listed) + len(kept) == len(nodes)
