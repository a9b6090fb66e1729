"""Ollama's Modelfile: its template is written in Go's language, derived from what Jinja renders."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.formatting.rows.examples import Message
from tasks.publishing.exports.gguf_tokenizer import adds_start

if TYPE_CHECKING:
    from tasks.formatting.rendering.renderer import Renderer

FILE = "model.gguf"
SYSTEM, USER, ASSISTANT, NEXT = (f"X{word}X" for word in ("system", "user", "answer", "next"))
TALK = (Message("user", USER), Message("assistant", ASSISTANT), Message("user", NEXT))
TALKS = (
    TALK[:1],
    TALK,
    (Message("system", SYSTEM), *TALK[:1]),
    (Message("system", SYSTEM), *TALK),
)
UNDERIVED = "the chat template cannot be written in Go's: the Modelfile has none"


@dataclass(frozen=True)
class Modelfile:
    """The file's text, and what a user should know about it."""

    text: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class TurnTexts:
    """What a template writes around the turns of a conversation."""

    start: str
    """Before the first turn."""
    default_system: str
    """In the place of a system turn where there is none."""
    before_system: str
    after_system: str
    before_user: str
    after_user: str
    before_assistant: str
    after_assistant: str
    prompt: str
    """At the end, for the answer to follow."""

    @property
    def around(self) -> dict[str, tuple[str, str]]:
        """What stands before and after the content of a turn, by role."""
        return {
            "system": (self.before_system, self.after_system),
            "user": (self.before_user, self.after_user),
            "assistant": (self.before_assistant, self.after_assistant),
        }

    def render(self, messages: Sequence[Message]) -> str:
        """Return the text of a conversation that waits for an answer."""
        has_system = any(message.role == "system" for message in messages)
        turns = (f"{self.around[m.role][0]}{m.content}{self.around[m.role][1]}" for m in messages)
        default = "" if has_system else self.default_system
        return f"{self.start}{default}{''.join(turns)}{self.prompt}"

    def write_go(self) -> str:
        """Return the same as a template in Go's language."""
        default = ""
        if self.default_system:
            default = f"{{{{ if not .System }}}}{self.default_system}{{{{ end }}}}"
        branches = "{{ else ".join(
            f'if eq .Role "{role}" }}}}{before}{{{{ .Content }}}}{after}'
            for role, (before, after) in self.around.items()
        )
        turns = f"{{{{ range .Messages }}}}{{{{ {branches}{{{{ end }}}}{{{{ end }}}}"
        return f"{self.start}{default}{turns}{self.prompt}"


def write_modelfile(renderer: Renderer, context_tokens: int) -> Modelfile:
    """Return the Modelfile of an export.

    Args:
        renderer: With the template and the end tokens.
        context_tokens: What the model was made for.
    """
    ends = [renderer.tokenizer.convert_ids_to_tokens(i) for i in renderer.end_token_ids]
    lines = [
        f"FROM ./{FILE}",
        f"PARAMETER num_ctx {context_tokens}",
        "PARAMETER temperature 0",
        *(f"PARAMETER stop {json.dumps(end, ensure_ascii=False)}" for end in ends),
    ]
    if renderer.chat_template is None:
        lines.append('TEMPLATE """{{ .Prompt }}"""')
        return Modelfile("\n".join(lines) + "\n", ())
    texts = derive_texts(renderer)
    if texts is None:
        return Modelfile("\n".join(lines) + "\n", (UNDERIVED,))
    lines.append(f'TEMPLATE """{texts.write_go()}"""')
    return Modelfile("\n".join(lines) + "\n", ())


def derive_texts(renderer: Renderer) -> TurnTexts | None:
    """Return what the template writes around turns, or None where that depends on other turns.

    What is found is put together again, and must be what the template itself renders. llama.cpp
    writes the start token by itself, so it is left out.
    """
    rendered = [_render(renderer, talk) for talk in TALKS]
    one, talk, with_system = rendered[:3]
    if one is None or talk is None:
        return None
    head, _, tail = one.partition(USER)
    between, _, after = talk.partition(USER)[2].partition(ASSISTANT)
    onward = after.partition(NEXT)[0]
    before_user = find_common_start(head[::-1], onward[::-1])[::-1]
    after_user = find_common_start(tail, between)
    start = head.removesuffix(before_user)
    system = ("", "")
    default = ""
    if with_system is not None:
        system_head, _, middle = with_system.partition(USER)[0].partition(SYSTEM)
        common = find_common_start(start, system_head)
        start, default = common, start.removeprefix(common)
        system = (system_head.removeprefix(common), middle.removesuffix(before_user))
    texts = TurnTexts(
        start=start,
        default_system=default,
        before_system=system[0],
        after_system=system[1],
        before_user=before_user,
        after_user=after_user,
        before_assistant=between.removeprefix(after_user),
        after_assistant=onward.removesuffix(before_user),
        prompt=tail.removeprefix(after_user),
    )
    is_same = all(
        text is None or texts.render(messages) == text
        for messages, text in zip(TALKS, rendered, strict=True)
    )
    is_writable = not any(mark in texts.write_go() for mark in ('"""', "{{{", "}}}"))
    return texts if is_same and is_writable else None


def find_common_start(one: str, other: str) -> str:
    """Return the characters with which both begin.

    >>> find_common_start("<user>", "<use>")
    '<use'
    """
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(character for character, _ in pairs)


def _render(renderer: Renderer, messages: Sequence[Message]) -> str | None:
    """Return the text without the start token; None where the template refuses the turns."""
    assert renderer.chat_template is not None, "a renderer of texts has no conversations"
    try:
        text = renderer.chat_template.render(messages, add_generation_prompt=True)
    except ValueError:
        return None
    return text.removeprefix(renderer.tokenizer.bos_token) if adds_start(renderer) else text
