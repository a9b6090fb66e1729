"""A tiny two-layer model, its tokenizer, and formatted data as `format_data` writes them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from configs.schema import ModelConfig, TrainingConfig
from tasks.formatting.rendering.renderer import Renderer, load_renderer
from tasks.formatting.rows.examples import Example, Message, digest_content, write_examples

LORA = ModelConfig(model_name_or_path="models/tiny", lora_r=4, lora_alpha=8)
TRAINING = TrainingConfig(
    num_train_epochs=2,
    learning_rate=1e-2,
    per_device_train_batch_size=2,
    gradient_accumulation_steps=2,
    max_length=128,
    logging_steps=4,
    num_sample_generations=1,
)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers with grouped queries and tied embeddings, and its tokenizer."""
    from transformers import LlamaConfig

    return build_base(
        tmp_path_factory.mktemp("base"),
        LlamaConfig(
            vocab_size=400,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=2,
            pad_token_id=0,
            initializer_range=0.1,
        ),
    )


def build_base(folder: Path, config: Any) -> Path:
    """Write a random model of any kind, the same each time."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    trained = ByteLevelBPETokenizer()
    special = ["<pad>", "<|im_start|>", "<|im_end|>"]
    trained.train_from_iterator(["what is one plus two?"], vocab_size=300, special_tokens=special)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer, eos_token="<|im_end|>", pad_token="<pad>"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(7)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def renderer(base: Path) -> Renderer:
    return load_renderer(base, "chatml", "messages")


def make_examples(count: int, seed: int) -> list[Example]:
    """Return short conversations of different lengths."""
    draw = random.Random(seed)  # noqa: S311 - test data
    examples = []
    for index in range(count):
        a, b = draw.randint(1, 99), draw.randint(1, 99)
        question = f"what is {a} plus {b}?" + " please" * draw.randint(0, 8)
        messages = (Message("user", question), Message("assistant", f"{a + b}"))
        identity = f"{digest_content(messages, '')[:12]}-{index}"
        examples.append(Example(identity, identity, messages, "", f"train.jsonl:{index + 1}"))
    return examples


def write_formatted(folder: Path, renderer: Renderer, splits: dict[str, list[Example]]) -> Path:
    """Write splits as `format_data` does."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    for name, examples in splits.items():
        tokens = [renderer.render_example(example) for example in examples]
        columns = {
            "id": [example.id for example in examples],
            "input_ids": [t.input_ids for t in tokens],
            "labels": [t.labels for t in tokens],
        }
        Dataset.from_dict(columns).save_to_disk(str(folder / "tokens" / name))
        write_examples(folder / "examples" / f"{name}.jsonl", examples)
    renderer.save(folder / "tokenizer")
    return folder


@pytest.fixture(scope="session")
def formatted(tmp_path_factory: pytest.TempPathFactory, renderer: Renderer) -> Path:
    splits = {"train": make_examples(42, seed=1), "validation": make_examples(10, seed=2)}
    return write_formatted(tmp_path_factory.mktemp("formatted"), renderer, splits)
