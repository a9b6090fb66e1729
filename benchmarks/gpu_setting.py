"""The model and the documents of `gpu.py`: random weights, random tokens, realistic lengths."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig

from configs.schema import ModelConfig, TrainingConfig
from tasks.formatting.rendering.renderer import Renderer, load_renderer
from tasks.formatting.rows.examples import Example, Message, write_examples
from tasks.records.home import find_project
from tasks.training.collator import IGNORE_INDEX
from tasks.training.devices import Device, detect_device
from tasks.training.flops import FlopRates, Work, count_rates, count_work
from tasks.training.known_bases import KNOWN_BASES
from tasks.training.models import DTYPES, protect_quantized_layers
from tasks.training.shapes import Shape, read_shape

LOCATION = "random-weights"
LLAMA_3_8B = KNOWN_BASES["meta-llama/Meta-Llama-3-8B-Instruct"]
TINY = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 2048, "tie_word_embeddings": False,
}  # fmt: skip
BYTES = 256  # tokens are bytes: what a token is makes no difference to the time it takes


@dataclass(frozen=True)
class Setting:
    """What is measured, and how long at most.

    Attributes:
        shape: The sizes of the model, as in config.json.
        device: Where.
        dtype: Precision of the base weights and of the products.
        examples_per_step: The effective batch of every arm.
        steps: Timed optimiser steps of every arm.
        warmup_steps: Steps before those.
        median_length: Of the documents, in tokens; lengths are log-normal with sigma 0.9.
        longest: Where lengths are cut off, in tokens.
        row_tokens: Budget of a packed row.
        padded_batch: Examples of a padded micro-batch.
        tuned_batch: The same without activation checkpointing, which takes more memory.
        arm_seconds: Of an arm's timed steps; it is cut after the step in which they end.
        decode_batches: Prompts answered at a time.
        new_tokens: Of each answer.
        backend: torch.compile's.
    """

    shape: dict[str, Any]
    device: Device
    dtype: str
    examples_per_step: int
    steps: int
    warmup_steps: int
    median_length: int
    longest: int
    row_tokens: int
    padded_batch: int
    tuned_batch: int
    arm_seconds: float
    decode_batches: tuple[int, ...]
    new_tokens: int
    backend: str

    @property
    def model(self) -> ModelConfig:
        """LoRA of rank 16 on all linear layers."""
        return ModelConfig(model_name_or_path=LOCATION, dtype=self.dtype)

    @property
    def training(self) -> TrainingConfig:
        """The native engine as it is by default, with no activation checkpointing of its choice."""
        return TrainingConfig(
            max_steps=self.warmup_steps + self.steps,
            per_device_train_batch_size=self.examples_per_step,
            gradient_accumulation_steps=1,
            max_length=self.row_tokens,
            gradient_checkpointing="off",
            eval_strategy="no",
            save_strategy="best",
            logging_steps=1000,
            num_sample_generations=0,
        )

    @cached_property
    def is_cuda(self) -> bool:
        """Whether there is a GPU."""
        return self.device.kind == "cuda"

    @cached_property
    def sizes(self) -> Shape:
        """The sizes of the model."""
        return read_shape(self.shape)

    @cached_property
    def rates(self) -> FlopRates:
        """Operations by tokens; the same for all arms, since MFU counts what has to be done."""
        return count_rates(self.sizes, self.model)


def choose_setting(*, is_small: bool) -> Setting:
    """Return the setting of an H200, or a small one that runs the same code on a processor."""
    device = detect_device()
    if is_small:
        cpu = Device("cpu", "cpu", device.memory_bytes, has_bfloat16=False)
        return Setting(
            TINY, cpu, "float32", examples_per_step=4, steps=2, warmup_steps=1,
            median_length=24, longest=64, row_tokens=128, padded_batch=2, tuned_batch=2,
            arm_seconds=60, decode_batches=(1, 4), new_tokens=4, backend="eager",
        )  # fmt: skip
    return Setting(
        dict(LLAMA_3_8B), device, "bfloat16", examples_per_step=32, steps=4, warmup_steps=2,
        median_length=400, longest=4096, row_tokens=8192, padded_batch=4, tuned_batch=2,
        arm_seconds=20, decode_batches=(1, 64, 256), new_tokens=32, backend="inductor",
    )  # fmt: skip


@dataclass(frozen=True)
class Documents:
    """Random tokens; each document is a prompt and an answer that is trained on."""

    tokens: tuple[list[int], ...]
    num_prompts: tuple[int, ...]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each document."""
        return [len(tokens) for tokens in self.tokens]

    @property
    def labels(self) -> list[list[int]]:
        """The tokens that are trained on; -100 for those of the prompts."""
        rows = zip(self.tokens, self.num_prompts, strict=True)
        return [[IGNORE_INDEX] * count + tokens[count:] for tokens, count in rows]

    @property
    def work(self) -> Work:
        """What a training on all of them has to compute."""
        return count_work(self.lengths, sum(self.lengths) - sum(self.num_prompts))

    def describe(self) -> dict[str, Any]:
        """Return the mix of lengths and f, the share of tokens in the loss."""
        shares = {f"p{n}": int(np.percentile(self.lengths, n)) for n in (10, 50, 90, 99, 100)}
        return {
            "documents": len(self.tokens),
            "mean_tokens": round(statistics.mean(self.lengths), 1),
            "tokens": shares,
            "trained_share": round(self.work.trained_tokens / self.work.tokens, 3),
        }


def draw_documents(setting: Setting, seed: int = 0) -> Documents:
    """Draw the documents of all steps."""
    draw = np.random.default_rng(seed)
    count = setting.examples_per_step * (setting.steps + setting.warmup_steps)
    lengths = draw.lognormal(np.log(setting.median_length), 0.9, count).astype(int)
    lengths = lengths.clip(8, setting.longest)
    prompts = (lengths * draw.uniform(0.2, 0.8, count)).astype(int).clip(1)
    tokens = tuple(draw.integers(0, BYTES, n).tolist() for n in lengths)
    return Documents(tokens, tuple(prompts.tolist()))


def write_documents(documents: Documents, folder: Path) -> Renderer:
    """Write the documents as formatting writes tokens; return the renderer that lies with them."""
    columns = {
        "id": [f"document-{number}" for number in range(len(documents.tokens))],
        "input_ids": list(documents.tokens),
        "labels": documents.labels,
    }
    Dataset.from_dict(columns).save_to_disk(str(folder / "tokens" / "train"))
    turns = (Message("user", "random"), Message("assistant", "tokens"))
    write_examples(folder / "examples" / "train.jsonl", [Example("0", "0", turns, "", "")])
    renderer = load_renderer(find_project() / "data" / "tiny-base", None, "messages")
    renderer.save(folder / "tokenizer")
    return renderer


def build_base(setting: Setting, *, num_layers: int | None = None) -> Any:
    """Make the model on its device; nothing is read or downloaded."""
    sizes = setting.shape | ({"num_hidden_layers": num_layers} if num_layers else {})
    config = LlamaConfig(
        **sizes, max_position_embeddings=8192, bos_token_id=None, eos_token_id=BYTES, pad_token_id=0
    )
    torch.manual_seed(0)
    with torch.device(setting.device.kind):
        base = AutoModelForCausalLM.from_config(config, dtype=DTYPES[setting.dtype])
    return base.eval()


def quantize_base(base: Any, setting: Setting, model: ModelConfig) -> Any:
    """Return the model with its linear layers in four bits, from weights in memory."""
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=model.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=model.use_bnb_nested_quant,
        bnb_4bit_compute_dtype=DTYPES[setting.dtype],
    )
    made = type(base).from_pretrained(
        None,
        config=base.config,
        state_dict=base.state_dict(),
        quantization_config=quantization,
        dtype=DTYPES[setting.dtype],
        device_map={"": "cuda:0" if setting.is_cuda else setting.device.kind},
    )
    protect_quantized_layers(made)
    return made.eval()
