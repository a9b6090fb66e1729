"""The one renderer of training, evaluation and publishing: token ids, and which are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.formatting.rendering.base_tokenizer import digest_tokenizer, find_end_ids, load_tokenizer
from tasks.formatting.rendering.chat_templates import find_template
from tasks.formatting.rendering.encoding import PieceEncoder, make_encoder
from tasks.formatting.rendering.turns import (
    ChatTemplate,
    Piece,
    UnrenderableError,
    load_chat_template,
)
from tasks.formatting.rows.examples import Example, Message, ToolCall
from tasks.records.digests import digest_value
from tasks.records.handles import Kind

IGNORE_INDEX = -100


@dataclass(frozen=True)
class TokenizedExample:
    """An example as tokens."""

    input_ids: list[int]
    labels: list[int]
    """`input_ids` where the token is trained on, -100 elsewhere; the first is always -100."""
    trained_ends: tuple[int, ...]
    """The positions of the end tokens of the trained turns."""
    untrained_turns: int = 0
    """Assistant turns that should be trained on and are not, because the template changes them as
    the conversation goes on (as some do with earlier reasoning)."""

    @cached_property
    def num_trained(self) -> int:
        """Tokens that the loss is taken on."""
        return len(self.labels) - self.labels.count(IGNORE_INDEX)


@dataclass(frozen=True)
class Renderer:
    """Turns examples into token ids, the same way wherever it is used."""

    tokenizer: Any
    digest: str
    """SHA-256 of the chat template, the tokenizer and the kind of the rows."""
    end_token_ids: tuple[int, ...]
    """The token that ends an assistant turn (or a text), then the tokenizer's own end token."""
    pad_token_id: int
    """Fills batches; masks go by position, so it may be any token."""
    chat_template: ChatTemplate | None
    """None for `text` rows, which are plain continuation."""
    encoder: PieceEncoder

    def render_example(
        self, example: Example, assistant_only_loss: bool = True
    ) -> TokenizedExample:
        """Return the token ids and labels of an example.

        A conversation is cut where a generation prompt ends and where a turn ends, and the pieces
        are encoded one by one, so the trained ids are exactly what follows a prompt's ids. It ends
        with the last turn that is trained on: nothing is learnt from what follows. A text gets a
        start token if the tokenizer gives one by itself, and an end token.

        Args:
            example: A conversation, or a text; a text is trained on as a whole.
            assistant_only_loss: Whether only assistant turns are trained on, or every token but
                those of assistant turns with the weight 0.

        Raises:
            UnrenderableError: The template refuses the conversation, or would leave out its tools.
        """
        pieces = self._cut_example(example)
        return self._label_pieces(example, pieces, self._encode_pieces(pieces), assistant_only_loss)

    def render_examples(
        self, examples: Sequence[Example], assistant_only_loss: bool = True
    ) -> list[TokenizedExample | UnrenderableError]:
        """Return for each example what `render_example` gives, or the error that it raises.

        All of them are encoded in one call, at the tokenizer's own speed.
        """
        cut: list[list[Piece] | UnrenderableError] = []
        for example in examples:
            try:
                cut.append(self._cut_example(example))
            except UnrenderableError as err:
                cut.append(err)
        texts = [[p.text for p in pieces] for pieces in cut if isinstance(pieces, list)]
        encoded = iter(self.encoder.encode_texts(texts))
        return [
            self._label_pieces(example, pieces, next(encoded), assistant_only_loss)
            if isinstance(pieces, list)
            else pieces
            for example, pieces in zip(examples, cut, strict=True)
        ]

    def render_prompt(self, example: Example) -> list[int]:
        """Return the ids to answer, a prefix of those of `render_example`.

        A conversation's are all before its answer, with a generation prompt. A text is its own
        prompt: it is continued.

        Raises:
            UnrenderableError: The template refuses the conversation.
        """
        if self.chat_template is None:
            return self.render_example(example).input_ids[:-1]
        return self.encode_prompt(example.prompt, example.tools)

    def render_reference(self, example: Example) -> str:
        """Return the right answer as a model writes it, to be compared with a decoded answer.

        A plain answer is its text; tool calls are what the template makes of them.

        Raises:
            UnrenderableError: The template refuses the conversation.
        """
        if not example.messages or not example.messages[example.answer_at].tool_calls:
            return example.reference
        tokens = self.render_example(example)
        start = len(self.render_prompt(example))
        return self.decode(tokens.input_ids[start : tokens.trained_ends[-1] + 1])

    def encode_prompt(self, messages: Sequence[Message], tools: str = "") -> list[int]:
        """Return the ids of messages that wait for an answer, with a generation prompt.

        Args:
            messages: The messages before the answer.
            tools: The tools that may be called, as a JSON list; empty for none.

        Raises:
            UnrenderableError: The template refuses the messages, or would leave out the tools.
        """
        assert self.chat_template is not None, "a renderer of texts has no conversations"
        messages, tools = self._break_controls(messages), self.encoder.break_controls(tools)
        self.chat_template.check_tools(messages, tools)
        pieces = self.chat_template.split_prompt(messages, tools)
        return [i for ids in self._encode_pieces(pieces) for i in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of an answer's ids, without control tokens and the template's lead."""
        text: str = self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text.removeprefix(self.chat_template.lead) if self.chat_template else text

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files and `chat_template.jinja`; loaded, they give this digest."""
        if self.chat_template is not None:
            self.tokenizer.chat_template = self.chat_template.text
        # How it was loaded is no part of it: the same training gives the same bytes offline.
        for name in ("local_files_only", "is_local"):
            self.tokenizer.init_kwargs.pop(name, None)
        self.tokenizer.save_pretrained(folder)

    def _cut_example(self, example: Example) -> list[Piece]:
        if self.chat_template is None:
            return [Piece(self.encoder.break_controls(example.text), is_trained=True)]
        messages = self._break_controls(example.messages[: example.answer_at + 1])
        tools = self.encoder.break_controls(example.tools)
        self.chat_template.check_tools(messages, tools)
        return self.chat_template.split_conversation(messages, tools)

    def _label_pieces(
        self,
        example: Example,
        pieces: Sequence[Piece],
        encoded: Sequence[list[int]],
        assistant_only_loss: bool,
    ) -> TokenizedExample:
        if self.chat_template is None:
            return self._label_text(encoded[0])
        input_ids: list[int] = []
        labels: list[int] = []
        ends: list[int] = []
        for piece, ids in zip(pieces, encoded, strict=True):
            is_labelled = piece.is_trained or not (assistant_only_loss or piece.is_excluded)
            input_ids += ids
            labels += ids if is_labelled else [IGNORE_INDEX] * len(ids)
            ends += [len(labels) - 1] if piece.is_trained else []
        labels[0] = IGNORE_INDEX
        assert all(input_ids[end] == self.end_token_ids[0] for end in ends)
        turns = example.messages[: example.answer_at + 1]
        num_turns = sum(turn.role == "assistant" and turn.is_trained for turn in turns)
        return TokenizedExample(input_ids, labels, tuple(ends), num_turns - len(ends))

    def _label_text(self, body: Sequence[int]) -> TokenizedExample:
        input_ids = [*self.encoder.start_ids, *body, self.end_token_ids[0]]
        return TokenizedExample(input_ids, [IGNORE_INDEX, *input_ids[1:]], (len(input_ids) - 1,))

    def _break_controls(self, messages: Sequence[Message]) -> list[Message]:
        return [self._break_message(message) for message in messages]

    def _break_message(self, message: Message) -> Message:
        break_controls = self.encoder.break_controls
        content = break_controls(message.content)
        is_plain = not (message.tool_calls or message.tool_call_id or message.name)
        if is_plain and content == message.content:
            return message
        calls = [
            ToolCall(break_controls(c.name), break_controls(c.arguments), break_controls(c.id))
            for c in message.tool_calls
        ]
        return replace(
            message,
            content=content,
            tool_calls=tuple(calls),
            tool_call_id=break_controls(message.tool_call_id),
            name=break_controls(message.name),
        )

    def _encode_pieces(self, pieces: Sequence[Piece]) -> list[list[int]]:
        return self.encoder.encode_pieces([piece.text for piece in pieces])


def load_renderer(tokenizer_folder: Path | str, chat_template: str | None, kind: Kind) -> Renderer:
    """Load the tokenizer of a folder and prove its chat template on a short conversation.

    Args:
        tokenizer_folder: A base model, or what `Renderer.save` wrote.
        chat_template: A built-in template's name or a file; None for the tokenizer's own.
        kind: Whether rows are conversations or texts; texts need no template.

    Raises:
        RequestError: There is no tokenizer or template, or the two do not fit.
    """
    tokenizer = load_tokenizer(tokenizer_folder)
    template = None
    if kind == "messages":
        template = load_chat_template(tokenizer, find_template(tokenizer, chat_template))
    ends = find_end_ids(tokenizer, template.end_token if template else None)
    pad = tokenizer.pad_token_id
    return Renderer(
        tokenizer=tokenizer,
        digest=digest_value([kind, template and template.text, digest_tokenizer(tokenizer)]),
        end_token_ids=ends,
        pad_token_id=ends[-1] if pad is None else pad,
        chat_template=template,
        encoder=make_encoder(tokenizer, template.end_token if template else ""),
    )
