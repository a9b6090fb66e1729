"""Make the tiny base model from the documentation of the running Python: `python build.py`."""

import argparse
import hashlib
import itertools
import logging
import os
import platform
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Template

# One thread makes the sums, and so the weights, the same at each run on one machine.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import tokenizers
import torch
import transformers
from corpus import Document, collect_documents, is_held_out
from measure import draw_by_kind, draw_mixed, measure_answers, measure_bits_per_byte
from model import Muon, create_model, train_tokenizer
from questions import ask_questions
from rows import ROW_TOKENS, make_batches
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

FOLDER = Path(__file__).parent
SEED = 20
ROWS_PER_STEP = 4
NUM_STEPS = 1200
WARMUP_STEPS = 20
# From runs of 150 steps, one seed, judged on training documents that were not reached: 0.03 for
# Muon and 0.01 for AdamW end at a higher loss; 0.003 for Muon is about as good as 0.01.
MUON_LEARNING_RATE = 0.01
ADAMW_LEARNING_RATE = 0.02
TOKENIZER_CONVERSATIONS = 4000
NUM_QUESTIONS = 100
NUM_QUESTIONS_BY_KIND = 20

logger = logging.getLogger("tiny-base")


def main() -> None:
    """Train the tokenizer and the model, measure them, and save them with the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the model")
    parser.add_argument("--steps", type=int, default=NUM_STEPS, help="optimiser steps")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(SEED)

    documents = collect_documents()
    train = [document for document in documents if not is_held_out(document.name)]
    held_out = [document for document in documents if is_held_out(document.name)]
    tokenizer = train_tokenizer(_list_tokenizer_texts(train), FOLDER / "chat_template.jinja")
    model = create_model(tokenizer)
    started = time.process_time()
    train_model(model, make_batches(train, tokenizer, ROWS_PER_STEP, SEED), arguments.steps)
    cpu_seconds = time.process_time() - started

    arguments.output.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(arguments.output)
    tokenizer.save_pretrained(arguments.output)
    figures = {
        "cpu_seconds": f"{cpu_seconds:.0f}",
        "steps": f"{arguments.steps:,}",
        "row_tokens": str(ROW_TOKENS),
        "train_tokens": f"{arguments.steps * ROWS_PER_STEP * ROW_TOKENS:,}",
        "num_parameters": f"{model.num_parameters():,}",
        **_describe_corpus(documents, held_out),
        **measure_model(model, tokenizer, held_out),
    }
    logger.info("%s", figures)
    write_card(arguments.output, figures)


def _list_tokenizer_texts(documents: Sequence[Document]) -> Iterator[str]:
    yield from (document.text for document in documents)
    conversations = ask_questions(documents, random.Random(SEED))
    for messages in itertools.islice(conversations, TOKENIZER_CONVERSATIONS):
        yield from (message["content"] for message in messages)


def train_model(
    model: LlamaForCausalLM, batches: Iterator[Mapping[str, torch.Tensor]], num_steps: int
) -> None:
    """Train in place: Muon for the matrices of the blocks, AdamW for the embedding and norms."""
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in named if p.ndim != 2 or "embed" in name]
    optimizers: list[torch.optim.Optimizer] = [
        Muon(matrices, lr=MUON_LEARNING_RATE),
        torch.optim.AdamW(others, lr=ADAMW_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(o, lambda step: _scale_rate(step, num_steps))
        for o in optimizers
    ]
    model.train()
    for step, batch in enumerate(itertools.islice(batches, num_steps)):
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        for stepper in (*optimizers, *schedules):
            stepper.step()
        model.zero_grad()
        if step % 50 == 0:
            logger.info("step %d loss %.3f", step, loss.item())


def _scale_rate(step: int, num_steps: int) -> float:
    """Rise over the warm-up, hold, and fall to zero over the last half."""
    return min(1.0, (step + 1) / WARMUP_STEPS, 2 * (num_steps - step) / num_steps)


def _describe_corpus(documents: Sequence[Document], held_out: Sequence[Document]) -> dict[str, str]:
    text = "\n".join(document.text for document in documents).encode()
    return {
        "num_documents": f"{len(documents):,}",
        "num_held_out": f"{len(held_out):,}",
        "held_out_bytes": f"{sum(len(document.text.encode()) for document in held_out):,}",
        "text_bytes": f"{len(text):,}",
        "text_sha256": hashlib.sha256(text).hexdigest(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
    }


def measure_model(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, held_out: Sequence[Document]
) -> dict[str, str]:
    """Measure everything that the card states about held-out documents."""
    bits = measure_bits_per_byte(model, tokenizer, [document.text for document in held_out])
    mixed = draw_mixed(held_out, NUM_QUESTIONS, SEED + 2)
    stop_rate, exact_match = measure_answers(model, tokenizer, mixed)
    kinds = []
    for kind, asked in draw_by_kind(held_out, NUM_QUESTIONS_BY_KIND, SEED + 3).items():
        ended, equal = measure_answers(model, tokenizer, asked)
        kinds.append(f"| {kind} | {ended:.2f} | {equal:.2f} |")
    return {
        "bits_per_byte": f"{bits:.3f}",
        "stop_rate": f"{stop_rate:.2f}",
        "exact_match": f"{exact_match:.2f}",
        "num_questions": str(NUM_QUESTIONS),
        "num_questions_by_kind": str(NUM_QUESTIONS_BY_KIND),
        "kinds": "\n".join(kinds),
    }


def write_card(folder: Path, figures: Mapping[str, str]) -> None:
    """Write the model card from its template, with the digest of the saved weights."""
    template = Template((FOLDER / "card_template.md").read_text(encoding="utf-8"))
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    card = template.substitute(figures, weights_sha256=digest)
    (folder / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
