"""Requests as token ids, by the renderer of training and evaluation, nothing ever cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.publishing.probes import render_input
from tasks.publishing.serving.bodies import ChatBody, CompletionBody
from tasks.publishing.serving.problems import RequestRefused

if TYPE_CHECKING:
    from tasks.formatting.rendering.renderer import Renderer


def render_chat(renderer: Renderer, body: ChatBody) -> list[int]:
    """Return the token ids of a conversation that waits for its next turn.

    Raises:
        RequestRefused: The model continues plain text, or its template refuses the turns.
    """
    if renderer.chat_template is None:
        message = "this model continues plain text: ask /v1/completions"
        raise RequestRefused(400, message, "unsupported_endpoint")
    row = {"messages": body.list_turns(), "tools": body.tools_text}
    try:
        return render_input(renderer, row)
    except ValueError as err:
        raise RequestRefused(400, str(err), "invalid_messages", "messages") from err


def render_texts(renderer: Renderer, body: CompletionBody) -> list[list[int]]:
    """Return the token ids of each text to continue, without a template.

    Raises:
        RequestRefused: A prompt is empty, or has ids that are none of the model's.
    """
    prompts = [
        _check_ids(renderer, prompt) if isinstance(prompt, list) else _encode(renderer, prompt)
        for prompt in body.prompts
    ]
    if not prompts or not all(prompts):
        raise RequestRefused(400, "the prompt is empty", "invalid_prompt", "prompt")
    return prompts


def limit_tokens(
    asked: int | None, num_prompt_tokens: int, *, longest: int, context: int | None
) -> int:
    """Return the longest answer to a prompt, in tokens.

    Args:
        asked: What the request asks for; None: as much as there may be.
        num_prompt_tokens: Length of the prompt.
        longest: The server's own limit.
        context: What the model was made for; None where it does not say.

    Raises:
        RequestRefused: There is no room for it. Nothing is ever cut.
    """
    if asked is not None and asked > longest:
        message = f"at most {longest} new tokens are written here; {asked} are asked for"
        raise RequestRefused(400, message, "max_tokens_too_large", "max_tokens")
    room = longest if context is None else context - num_prompt_tokens
    if room < (asked or 1):
        message = (
            f"the model's context is {context} tokens; the prompt has {num_prompt_tokens}, and "
            f"{asked or 1} more are asked for"
        )
        raise RequestRefused(400, message, "context_length_exceeded", "messages")
    return asked or min(longest, room)


def _encode(renderer: Renderer, text: str) -> list[int]:
    [ids] = renderer.encoder.encode_pieces([renderer.encoder.break_controls(text)])
    return [*renderer.encoder.start_ids, *ids]


def _check_ids(renderer: Renderer, ids: list[int]) -> list[int]:
    size = len(renderer.tokenizer)
    if wrong := [i for i in ids if not 0 <= i < size]:
        message = f"{wrong[0]} is no token of this model; it has {size}"
        raise RequestRefused(400, message, "invalid_prompt", "prompt")
    return ids
