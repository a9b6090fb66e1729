"""Rows for whole format stages."""

from __future__ import annotations

from typing import Any


def chat(ask: str, answer: str = "So.", **fields: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
    return {"messages": turns, **fields}


def make_rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        chat(f"What is {n} + {n}?", str(2 * n), kind="sum") for n in range(start, start + count)
    ]


TEST_ROWS = make_rows(5, start=1000)
BOT = {"messages": [{"role": "user", "content": "Why?"}, {"role": "bot", "content": "So."}]}
OTHER_TEST = {"eval/test/test.jsonl": TEST_ROWS}
