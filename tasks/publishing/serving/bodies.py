"""The requests of OpenAI's API that are understood; what would be passed over is refused."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.publishing.serving.answering import Wish
from tasks.publishing.serving.problems import RequestRefused

Roles = Literal["system", "developer", "user", "assistant", "tool"]
BodyT = TypeVar("BodyT", bound="Body")


class TextPart(BaseModel):
    """A part of a turn's content."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class ToolFunction(BaseModel):
    """The function of a call."""

    name: str
    arguments: str


class ToolCallBody(BaseModel):
    """A call in an earlier answer."""

    id: str = ""
    type: Literal["function"] = "function"
    function: ToolFunction


class Turn(BaseModel):
    """A turn of the conversation."""

    role: Roles
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCallBody] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(BaseModel):
    """What a stream says beside the text."""

    include_usage: bool = False
    include_obfuscation: bool = False


class Body(BaseModel):
    """What both kinds of requests have in common."""

    model_config = ConfigDict(extra="forbid")

    model: str
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    n: Annotated[int, Field(ge=1, le=16)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # Taken where they change nothing: clients send their defaults along.
    presence_penalty: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    user: str | None = None
    store: Literal[False] | None = None
    metadata: dict[str, Any] | None = None

    @property
    def num_answers(self) -> int:
        """Answers to each prompt."""
        return self.n or 1

    @property
    def is_stream(self) -> bool:
        """Whether the answer comes piece by piece."""
        return bool(self.stream)

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with its counts."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def longest(self) -> int | None:
        """The longest answer that is asked for, in tokens."""
        return self.max_tokens

    def make_wish(self, max_new_tokens: int, number: int) -> Wish:
        """Return how one answer is to be written; without a temperature, as it was evaluated.

        Args:
            max_new_tokens: The longest answer.
            number: Which of the answers to the same prompt.
        """
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Wish(
            max_new_tokens=max_new_tokens,
            temperature=self.temperature or 0.0,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=None if self.seed is None else (self.seed + number) % 2**63,
            stop=tuple(stop for stop in stops if stop),
        )


class ChatBody(Body):
    """A request for the next turn of a conversation."""

    messages: Annotated[list[Turn], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["auto", "none"] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[Literal["type"], Literal["text"]] | None = None
    logprobs: Literal[False] | None = None

    @property
    def longest(self) -> int | None:
        """The longest answer that is asked for, in tokens."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def tools_text(self) -> str:
        """The tools as a JSON list; empty for none."""
        is_used = self.tools and self.tool_choice != "none"
        return json.dumps(self.tools, ensure_ascii=False) if is_used else ""

    def list_turns(self) -> list[dict[str, Any]]:
        """Return the turns as examples have them."""
        return [_describe_turn(turn) for turn in self.messages]


class CompletionBody(Body):
    """A request to continue a text."""

    prompt: str | list[str] | list[int] | list[list[int]]
    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None
    logprobs: None = None
    suffix: None = None

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each prompt: a text, or token ids."""
        prompt = self.prompt
        if isinstance(prompt, str):
            return [prompt]
        if prompt and all(isinstance(item, int) for item in prompt):
            return [[item for item in prompt if isinstance(item, int)]]
        return [item for item in prompt if not isinstance(item, int)]


def read_body(kind: type[BodyT], content: bytes) -> BodyT:
    """Return a request's body.

    Raises:
        RequestRefused: It is no JSON, a field is wrong, or asks for what is not done here.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        param = ".".join(str(part) for part in first["loc"]) or None
        if first["type"] == "extra_forbidden":
            message = f"{param} is not supported by this server"
            raise RequestRefused(400, message, "unsupported_parameter", param) from None
        place = f"{param}: " if param else ""
        message = f"{place}{first['msg']}"
        raise RequestRefused(400, message, "invalid_request", param) from None


def _describe_turn(turn: Turn) -> dict[str, Any]:
    role = "system" if turn.role == "developer" else turn.role
    described: dict[str, Any] = {"role": role, "content": turn.text}
    if turn.tool_calls:
        described["tool_calls"] = [
            {"name": c.function.name, "arguments": c.function.arguments, "id": c.id}
            for c in turn.tool_calls
        ]
    if turn.tool_call_id:
        described["tool_call_id"] = turn.tool_call_id
    if turn.name:
        described["name"] = turn.name
    return described
