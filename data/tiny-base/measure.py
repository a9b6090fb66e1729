"""Figures of the tiny base model on held-out documents."""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from corpus import Document
from model import END_OF_TEXT
from questions import KINDS, Message, ask_questions, gather_material
from rows import ROW_TOKENS
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

MAX_NEW_TOKENS = 128


@dataclass(frozen=True)
class Answer:
    """A greedy answer and whether it ended by itself."""

    text: str
    is_complete: bool


def measure_bits_per_byte(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
) -> float:
    """Measure the code length of texts, each read from its start in windows of a training row.

    Returns:
        Negative log-likelihood in bits, divided by the number of UTF-8 bytes.
    """
    model.eval()
    end_id = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    nats = 0.0
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False, verbose=False)
        for start in range(0, len(ids), ROW_TOKENS):
            window = torch.tensor([[end_id, *ids[start : start + ROW_TOKENS]]])
            with torch.inference_mode():
                loss = model(input_ids=window, labels=window, use_cache=False).loss
            nats += loss.item() * (window.size(1) - 1)
    return nats / math.log(2) / sum(len(text.encode()) for text in texts)


def generate_answer(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message]
) -> Answer:
    """Answer the last message greedily, within 128 tokens."""
    prompt = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    output_ids = model.generate(**prompt, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
    answer_ids = output_ids[0, prompt["input_ids"].size(1) :]
    is_complete = answer_ids[-1].item() in model.generation_config.eos_token_id
    return Answer(tokenizer.decode(answer_ids, skip_special_tokens=True), is_complete)


def measure_answers(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    conversations: Sequence[Sequence[Message]],
) -> tuple[float, float]:
    """Answer the last question of each conversation.

    Returns:
        The fraction of answers that end, and the fraction that equal the expected text.
    """
    model.eval()
    answers = [generate_answer(model, tokenizer, messages[:-1]) for messages in conversations]
    expected = [messages[-1]["content"] for messages in conversations]
    num_ended = sum(answer.is_complete for answer in answers)
    num_equal = sum(a.text == text for a, text in zip(answers, expected, strict=True))
    return num_ended / len(answers), num_equal / len(answers)


def draw_mixed(
    documents: Sequence[Document], num_questions: int, seed: int
) -> list[Sequence[Message]]:
    """Draw conversations in the mixture that the model is trained on."""
    return list(itertools.islice(ask_questions(documents, random.Random(seed)), num_questions))


def draw_by_kind(
    documents: Sequence[Document], num_questions: int, seed: int
) -> dict[str, list[Sequence[Message]]]:
    """Draw as many single questions of each kind."""
    material, rng = gather_material(documents), random.Random(seed)
    drawn: dict[str, list[Sequence[Message]]] = {}
    for make_pair in KINDS:
        pairs = [make_pair(material, rng) for _ in range(num_questions)]
        drawn[make_pair.__name__.strip("_").replace("_", " ")] = [
            ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
            for question, answer in pairs
        ]
    return drawn
