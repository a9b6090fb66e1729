"""The one renderer of training, evaluation and publishing: token ids, and which are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import RequestError
from tasks.formatting.chat_templates import find_template
from tasks.formatting.encoding import PieceEncoder, make_encoder
from tasks.formatting.examples import Example, Message
from tasks.formatting.turns import ChatTemplate, Piece, load_chat_template
from tasks.records.digests import digest_bytes, digest_value
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
    """Assistant turns that are not trained on, because the template changes them as the
    conversation goes on (as some do with earlier reasoning)."""

    @property
    def num_trained(self) -> int:
        """Tokens that the loss is taken on."""
        return sum(label != IGNORE_INDEX for label in self.labels)


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
        are encoded one by one, so the trained ids are exactly what follows a prompt's ids. A text
        gets a start token if the tokenizer gives one by itself, and an end token.

        Args:
            example: A conversation, or a text; a text is trained on as a whole.
            assistant_only_loss: Whether only assistant turns are trained on, or every token.

        Raises:
            UnrenderableError: The template refuses the conversation.
        """
        if self.chat_template is None:
            return self._render_text(example)
        pieces = self.chat_template.split_conversation(self._break_controls(example.messages))
        encoded = self._encode_pieces(pieces)
        input_ids = [i for ids in encoded for i in ids]
        labels: list[int] = []
        ends: list[int] = []
        for piece, ids in zip(pieces, encoded, strict=True):
            is_labelled = piece.is_trained or not assistant_only_loss
            labels += ids if is_labelled else [IGNORE_INDEX] * len(ids)
            ends += [len(labels) - 1] if piece.is_trained else []
        labels[0] = IGNORE_INDEX
        assert all(input_ids[end] == self.end_token_ids[0] for end in ends)
        num_turns = sum(message.role == "assistant" for message in example.messages)
        return TokenizedExample(input_ids, labels, tuple(ends), num_turns - len(ends))

    def render_prompt(self, example: Example) -> list[int]:
        """Return the ids to answer, a prefix of those of `render_example`.

        A conversation's are all before its last assistant turn, with a generation prompt. A text
        is its own prompt: it is continued.

        Raises:
            UnrenderableError: The template refuses the conversation.
        """
        if self.chat_template is None:
            return self._render_text(example).input_ids[:-1]
        return self.encode_prompt(example.prompt)

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Return the ids of messages that wait for an answer, with a generation prompt.

        Raises:
            UnrenderableError: The template refuses the messages.
        """
        assert self.chat_template is not None, "a renderer of texts has no conversations"
        pieces = self.chat_template.split_prompt(self._break_controls(messages))
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
        self.tokenizer.save_pretrained(folder)

    def _render_text(self, example: Example) -> TokenizedExample:
        [body] = self.encoder.encode_pieces([self.encoder.break_controls(example.text)])
        input_ids = [*self.encoder.start_ids, *body, self.end_token_ids[0]]
        return TokenizedExample(input_ids, [IGNORE_INDEX, *input_ids[1:]], (len(input_ids) - 1,))

    def _break_controls(self, messages: Sequence[Message]) -> list[Message]:
        return [Message(m.role, self.encoder.break_controls(m.content)) for m in messages]

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
    tokenizer = _load_tokenizer(tokenizer_folder)
    template = None
    if kind == "messages":
        template = load_chat_template(tokenizer, find_template(tokenizer, chat_template))
    ends = _find_end_ids(tokenizer, template)
    pad = tokenizer.pad_token_id
    return Renderer(
        tokenizer=tokenizer,
        digest=digest_value([kind, template and template.text, _digest_tokenizer(tokenizer)]),
        end_token_ids=ends,
        pad_token_id=ends[-1] if pad is None else pad,
        chat_template=template,
        encoder=make_encoder(tokenizer, template.end_token if template else ""),
    )


def _load_tokenizer(folder: Path | str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as err:
        raise RequestError(
            where="model.model_name_or_path",
            message=f"no tokenizer can be loaded from {folder} ({err})",
            hint="a base model's folder holds tokenizer.json and tokenizer_config.json",
        ) from err


def _find_end_ids(tokenizer: Any, template: ChatTemplate | None) -> tuple[int, ...]:
    own = tokenizer.eos_token_id
    if template is not None:
        end = tokenizer.convert_tokens_to_ids(template.end_token)
        return (end,) if own in {None, end} else (end, own)
    if own is None:
        raise RequestError(
            where="model.model_name_or_path",
            message="the tokenizer has no eos token: a model of texts could not learn to stop",
        )
    return (own,)


def _digest_tokenizer(tokenizer: Any) -> str:
    """Return the digest of what a tokenizer does, however its files are written."""
    if not tokenizer.is_fast:
        return digest_value([sorted(tokenizer.get_vocab().items()), tokenizer.special_tokens_map])
    backend: str = tokenizer.backend_tokenizer.to_str()
    return digest_value([digest_bytes(backend.encode()), tokenizer.special_tokens_map])
