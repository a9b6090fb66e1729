"""Answer prompts with any model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from tasks.records.observer import SilentObserver
from tasks.resolve import ResolvedModel, resolve_model


class Speaker:
    """A loaded model that answers conversations.

    Args:
        model: A run folder, a checkpoint, a model folder, `models:/NAME@ALIAS`, or a hub id.

    Raises:
        RequestError: There is no such model.

    Example:
        >>> Speaker("outputs/runs/latest").answer(["What is FLOWROLL?"])  # doctest: +SKIP
        ['...']
    """

    def __init__(self, model: str) -> None:
        from tasks.formatting.rendering.renderer import load_renderer

        resolved: ResolvedModel = resolve_model(model)
        self._renderer = load_renderer(resolved.tokenizer_folder, None, resolved.kind)
        self._kind = resolved.kind
        self._opened = ExitStack()
        self._model: Any = self._opened.enter_context(resolved.open())

    def answer(
        self,
        prompts: Sequence[str | Sequence[tuple[str, str]]],
        *,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        batch_size: int = 8,
    ) -> list[str]:
        """Answer each prompt.

        Args:
            prompts: Each a user's text, or a conversation of (role, content) turns.
            max_new_tokens: Longest answer, in tokens.
            temperature: 0 takes the likeliest token each time.
            top_p: Draw among the likeliest tokens that together have this probability.
            seed: The same seed draws the same answers.
            batch_size: Prompts answered at a time.

        Raises:
            RequestError: A prompt and its answer do not fit the model's context.
        """
        from tasks.evaluation.generation import Sampling, generate_answers

        answers = generate_answers(
            self._model,
            self._renderer,
            [self._render(prompt) for prompt in prompts],
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            observer=SilentObserver(),
            sampling=Sampling(temperature, top_p, seed) if temperature else None,
        )
        return [answer.text for answer in answers]

    def _render(self, prompt: str | Sequence[tuple[str, str]]) -> list[int]:
        from tasks.formatting.rows.examples import Example, Message

        if self._kind == "text" and isinstance(prompt, str):
            return self._renderer.render_prompt(Example("", "", (), prompt, origin="prompt"))
        turns = [("user", prompt)] if isinstance(prompt, str) else list(prompt)
        return self._renderer.encode_prompt([Message(role, text) for role, text in turns])
