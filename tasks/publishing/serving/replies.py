"""The responses of OpenAI's API: whole, or piece by piece."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tasks.publishing.serving.answering import FinishReason

END_OF_STREAM = "data: [DONE]\n\n"


@dataclass
class Choice:
    """One answer as far as it has come."""

    text: str = ""
    finish_reason: FinishReason | None = None
    num_tokens: int = 0


@dataclass(frozen=True)
class Reply:
    """What is the same in all pieces of a response."""

    kind: Literal["chat", "text"]
    model: str
    fingerprint: str
    """Which version answered."""
    num_prompt_tokens: int
    id: str = field(default_factory=lambda: f"cmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def describe(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """Return the whole response."""
        name = "chat.completion" if self.kind == "chat" else "text_completion"
        described = [self._describe_choice(i, choice) for i, choice in enumerate(choices)]
        usage = self.count_usage(sum(choice.num_tokens for choice in choices))
        return {**self._head(name), "choices": described, "usage": usage}

    def write_start(self, index: int) -> str:
        """Return the first piece of a chat's answer, which names its role; nothing for texts."""
        if self.kind == "text":
            return ""
        return self._write_piece(index, {"role": "assistant", "content": ""}, None)

    def write_piece(self, index: int, text: str, finish_reason: FinishReason | None) -> str:
        """Return a piece of an answer as a server-sent event."""
        return self._write_piece(index, {"content": text} if text else {}, finish_reason)

    def write_usage(self, num_new_tokens: int) -> str:
        """Return the last piece: the counts."""
        name = "chat.completion.chunk" if self.kind == "chat" else "text_completion"
        return write_event(
            {**self._head(name), "choices": [], "usage": self.count_usage(num_new_tokens)}
        )

    def count_usage(self, num_new_tokens: int) -> dict[str, int]:
        """Return the counts of tokens."""
        return {
            "prompt_tokens": self.num_prompt_tokens,
            "completion_tokens": num_new_tokens,
            "total_tokens": self.num_prompt_tokens + num_new_tokens,
        }

    def _write_piece(
        self, index: int, delta: dict[str, str], finish_reason: FinishReason | None
    ) -> str:
        common: dict[str, Any] = {
            "index": index, "finish_reason": finish_reason, "logprobs": None
        }  # fmt: skip
        if self.kind == "chat":
            choice = {**common, "delta": delta}
            return write_event({**self._head("chat.completion.chunk"), "choices": [choice]})
        choice = {**common, "text": delta.get("content", "")}
        return write_event({**self._head("text_completion"), "choices": [choice]})

    def _describe_choice(self, index: int, choice: Choice) -> dict[str, Any]:
        common = {"index": index, "finish_reason": choice.finish_reason, "logprobs": None}
        if self.kind == "text":
            return {**common, "text": choice.text}
        message = {"role": "assistant", "content": choice.text, "refusal": None}
        return {**common, "message": message}

    def _head(self, name: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": name,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def write_event(content: dict[str, Any]) -> str:
    """Return a server-sent event."""
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
