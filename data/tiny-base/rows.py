"""Training rows of equal length: half plain text, half conversations in the chat template."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from corpus import Document
from model import END_OF_TEXT
from questions import Message, ask_questions
from transformers import PreTrainedTokenizerFast

ROW_TOKENS = 256
IGNORE_INDEX = -100


@dataclass(frozen=True)
class Row:
    """Tokens with what is learned from them; positions restart at each conversation."""

    input_ids: list[int]
    labels: list[int]
    position_ids: list[int]

    def join(self, other: "Row") -> "Row":
        """Return this row with another one behind it."""
        return Row(
            self.input_ids + other.input_ids,
            self.labels + other.labels,
            self.position_ids + other.position_ids,
        )


def make_batches(
    documents: Sequence[Document],
    tokenizer: PreTrainedTokenizerFast,
    num_rows: int,
    seed: int,
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield batches for the model, without end.

    Args:
        documents: What is read and asked about.
        tokenizer: It has the chat template, with generation markers.
        num_rows: Rows in a batch, an even number.
        seed: It fixes the order of the documents and the questions.
    """
    texts = _pack_texts(documents, tokenizer, random.Random(seed))
    chats = _pack_chats(documents, tokenizer, random.Random(seed + 1))
    while True:
        rows = [next(source) for _ in range(num_rows // 2) for source in (texts, chats)]
        yield {
            "input_ids": torch.tensor([row.input_ids for row in rows]),
            "labels": torch.tensor([row.labels for row in rows]),
            "position_ids": torch.tensor([row.position_ids for row in rows]),
        }


def _pack_texts(
    documents: Sequence[Document], tokenizer: PreTrainedTokenizerFast, rng: random.Random
) -> Iterator[Row]:
    """Join the documents, shuffled anew for each pass, and cut them into full rows."""
    end_id = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    ids: list[int] = []
    while True:
        for document in rng.sample(documents, len(documents)):
            text = f"{document.signature}\n{document.text}"
            ids += [*tokenizer.encode(text, add_special_tokens=False, verbose=False), end_id]
            while len(ids) >= ROW_TOKENS:
                yield Row(ids[:ROW_TOKENS], ids[:ROW_TOKENS], list(range(ROW_TOKENS)))
                ids = ids[ROW_TOKENS:]


def _pack_chats(
    documents: Sequence[Document], tokenizer: PreTrainedTokenizerFast, rng: random.Random
) -> Iterator[Row]:
    """Put whole conversations into rows; the rest of a row is padding without labels."""
    row = Row([], [], [])
    for messages in ask_questions(documents, rng):
        chat = _encode_chat(messages, tokenizer)
        num_missing = ROW_TOKENS - len(row.input_ids)
        if len(chat.input_ids) > num_missing:
            pad_ids = [tokenizer.pad_token_id] * num_missing
            ignored = [IGNORE_INDEX] * num_missing
            yield row.join(Row(pad_ids, ignored, list(range(num_missing))))
            row = Row([], [], [])
        if len(chat.input_ids) <= ROW_TOKENS:
            row = row.join(chat)


def _encode_chat(messages: list[Message], tokenizer: PreTrainedTokenizerFast) -> Row:
    """Encode a conversation whose labels are the answers and their end tokens."""
    encoded = tokenizer.apply_chat_template(
        messages, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, mask = encoded["input_ids"], encoded["assistant_masks"]
    labels = [i if is_answer else IGNORE_INDEX for i, is_answer in zip(ids, mask, strict=True)]
    return Row(ids, labels, list(range(len(ids))))
