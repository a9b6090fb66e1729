"""Answer prompts with any model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from configs.errors import RequestError
from tasks.records.observer import SilentObserver
from tasks.resolve import ResolvedModel, resolve_model

if TYPE_CHECKING:
    from tasks.publishing.serving.answering import Delta

Turns = Sequence[tuple[str, str]]
Prompt = str | Turns


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
        self._opened = ExitStack()
        self._model: Any = self._opened.enter_context(resolved.open())

    @property
    def has_turns(self) -> bool:
        """Whether it answers conversations; else it continues texts."""
        return self._renderer.chat_template is not None

    def answer(
        self,
        prompts: Sequence[Prompt],
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

    def stream(
        self,
        prompt: Prompt,
        show: Callable[[str], None],
        *,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> str:
        """Answer one prompt, and show its text as it comes.

        Args:
            prompt: As in `answer`.
            show: Called with each new piece of text.
            max_new_tokens: As in `answer`.
            temperature: As in `answer`.
            top_p: As in `answer`.
            seed: As in `answer`.

        Returns:
            The whole answer.

        Raises:
            RequestError: The prompt and its answer do not fit the model's context.
        """
        from tasks.evaluation.generation import (
            check_context,
            find_context_length,
            find_end_tokens,
        )
        from tasks.publishing.serving.answering import PendingAnswer, Wish
        from tasks.publishing.serving.decoding import LoadedModel, write_answers

        prompt_ids, pieces = self._render(prompt), list[str]()
        limit = find_context_length(self._model)
        check_context([len(prompt_ids) + max_new_tokens], ["prompt"], limit, "--max-new-tokens")

        def deliver(delta: Delta) -> None:
            pieces.append(delta.text)
            show(delta.text)

        wish = Wish(max_new_tokens, temperature, top_p, seed)
        ends = find_end_tokens(self._model, self._renderer)
        loaded = LoadedModel(self._model, self._renderer, ends)
        write_answers(loaded, [PendingAnswer(prompt_ids, wish, deliver)], lambda _: False)
        return "".join(pieces)

    def _render(self, prompt: Prompt) -> list[int]:
        from tasks.formatting.rows.examples import Example, Message

        if not self.has_turns:
            if not isinstance(prompt, str):
                raise RequestError("it continues texts, and knows no turns", "MODEL", "a text")
            return self._renderer.render_prompt(Example("", "", (), prompt, origin="prompt"))
        turns = [("user", prompt)] if isinstance(prompt, str) else list(prompt)
        try:
            return self._renderer.encode_prompt([Message(role, text) for role, text in turns])
        except ValueError as err:  # the template refuses the turns
            raise RequestError(
                str(err), "prompt", hint="see the model's chat_template.jinja"
            ) from err
