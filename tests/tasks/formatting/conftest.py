"""Small real tokenizers, trained once, with the special tokens of every built-in template."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs.schema import DataConfig
from tasks.formatting.build import FormatResult, Workload, format_data

CORPUS = [
    "What is the sum of one and two? It is three.\n\nAnd of two and three?",
    "Below is an instruction that describes a task. Write a response.",
    "### Instruction:\nList the members.\n\n### Response:\nNorth, East, West",
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    "system user assistant tool model ipython def add(a, b): return a + b  # sum",
]
CONTROL_TOKENS = [
    "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>",
    "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]",
    "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
]  # fmt: skip


def save_tokenizer(folder: Path, backend: Any, extra: list[str], **special: str) -> Path:
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, extra_special_tokens=extra, **special
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def byte_level_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer as of Llama 3, Qwen, GPT-2: byte-level BPE, with every template's tokens."""
    from tokenizers import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    special = ["<s>", "</s>", "<pad>"]
    trained.train_from_iterator(CORPUS, vocab_size=400, special_tokens=special)
    folder = tmp_path_factory.mktemp("byte-level")
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return save_tokenizer(folder, trained._tokenizer, CONTROL_TOKENS, **names)


@pytest.fixture(scope="session")
def sentencepiece_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer as of Llama 2 and Mistral: a space before every text, a start token by itself."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers

    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizer
    special = ["<unk>", "<s>", "</s>"]
    trained.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=300, special_tokens=special))
    model = json.loads(trained.to_str())["model"]
    vocab = dict(model["vocab"])
    for value in range(256):
        vocab.setdefault(f"<0x{value:02X}>", len(vocab))
    merges = [tuple(merge) for merge in model["merges"]]
    backend = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizer
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1),
        ]
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    folder = tmp_path_factory.mktemp("sentencepiece")
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return save_tokenizer(folder, backend, ["[INST]", "[/INST]"], **names)


def encode_jsonl(rows: list[Any]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


@pytest.fixture
def write_source(tmp_path: Path) -> Callable[..., Path]:
    """Write rows (JSONL) or bytes as the pinned files of a data version."""

    def write(files: dict[str, Any]) -> Path:
        source = tmp_path / "source"
        for name, content in files.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            is_raw = isinstance(content, bytes)
            path.write_bytes(content if is_raw else encode_jsonl(content))
        return source

    return write


@pytest.fixture
def run(
    tmp_path: Path, byte_level_tokenizer: Path, write_source: Callable[..., Path]
) -> Callable[..., FormatResult]:
    """Run the format stage on rows, with a small tokenizer."""

    def run_format(
        files: dict[str, Any],
        *,
        out: str = "out",
        max_length: int = 200,
        workload: Workload | None = None,
        **data: Any,
    ) -> FormatResult:
        kind = data.get("format")
        return format_data(
            write_source(files),
            tmp_path / out,
            data=DataConfig(**data),
            tokenizer=byte_level_tokenizer,
            chat_template=None if kind == "text" else "chatml",
            max_length=max_length,
            assistant_only_loss=True,
            workload=workload,
        )

    return run_format
