"""Figures of the tiny base model on held-out documents."""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from corpus import Document
from model import END_OF_TEXT
from questions import Message, ask_questions
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
    documents: Sequence[Document],
    num_questions: int,
    seed: int,
) -> tuple[float, float]:
    """Answer questions about documents.

    Returns:
        The fraction of answers that end, and the fraction that equal the expected text.
    """
    model.eval()
    conversations = ask_questions(documents, random.Random(seed))
    asked = list(itertools.islice(conversations, num_questions))
    answers = [generate_answer(model, tokenizer, messages[:-1]) for messages in asked]
    expected = [messages[-1]["content"] for messages in asked]
    stop_rate = sum(answer.is_complete for answer in answers) / num_questions
    exact = sum(a.text == text for a, text in zip(answers, expected, strict=True))
    return stop_rate, exact / num_questions
