"""Small models of three families, and what their training steps really keep in memory."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from configs.schema import ModelConfig
from tasks.training.adapters import attach_adapter, cast_inputs
from tasks.training.attention import VARLEN, use_attention
from tasks.training.collator import PackedRow, pack_row
from tasks.training.loss import compute_token_losses
from tasks.training.models import DTYPES

TOKENS = 128
ATTENTION = {"varlen": VARLEN, "sdpa": "sdpa", "eager": "eager"}


def make_config(family: str, *, layers: int = 2, vocabulary: int = 512) -> Any:
    """Return the config of a small model of a family."""
    from transformers import GPT2Config, LlamaConfig, Qwen2Config

    if family == "gpt2":
        return GPT2Config(
            vocab_size=vocabulary, n_embd=128, n_layer=layers, n_head=4, n_positions=512,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=1, eos_token_id=1,
        )  # fmt: skip
    sizes = {
        "vocab_size": vocabulary, "hidden_size": 128, "num_hidden_layers": layers,
        "num_attention_heads": 4, "num_key_value_heads": 2,
    }  # fmt: skip
    if family == "qwen2":
        return Qwen2Config(**sizes, intermediate_size=448, tie_word_embeddings=True)
    return LlamaConfig(**sizes, intermediate_size=352, tie_word_embeddings=False)


def build_model(config: Any, model: ModelConfig, dtype: str, *, checkpointing: bool = False) -> Any:
    """Return a model as `open_model` does, ready to train."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    net = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    if model.method != "full":
        net = attach_adapter(net.to(DTYPES[dtype]), model)
    if checkpointing:
        net.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return net.train()


def make_row(num_examples: int = 4, tokens: int = TOKENS) -> PackedRow:
    """Return a row of equal examples, half of whose tokens are trained on."""
    length = tokens // num_examples
    labels = [-100] * (length // 2) + [6] * (length - length // 2)
    return pack_row([([5] * length, labels)] * num_examples)


@contextmanager
def train_as_engine(net: Any, dtype: str, attention: str) -> Iterator[Any]:
    """Set a model up as training does; give what makes the context of one forward pass."""
    is_16_bits = dtype != "float32"

    def autocast() -> AbstractContextManager[Any]:
        return torch.autocast("cpu", dtype=DTYPES[dtype]) if is_16_bits else nullcontext()

    with use_attention(net, ATTENTION[attention]), cast_inputs(net, enabled=not is_16_bits):
        yield autocast


def count_saved_bytes(net: Any, row: PackedRow, dtype: str, attention: str = "varlen") -> int:
    """Return the bytes that autograd keeps after a forward pass, weights left out."""
    own = {t.untyped_storage().data_ptr() for t in [*net.parameters(), *net.buffers()]}
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with train_as_engine(net, dtype, attention) as autocast, hooks, autocast():
        compute_token_losses(net, row).sum()
    return sum(storage.nbytes() for storage in saved.values())


class LiveBytes(TorchDispatchMode):  # type: ignore[misc]
    """Counts the bytes of all storages that are alive, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.now = self.peak = 0

    def see(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.sizes:
            self.sizes[key] = storage.nbytes()
            weakref.finalize(storage, self.forget, key)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)

    def forget(self, key: int) -> None:
        self.now -= self.sizes.pop(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.see(leaf)
        return result


def measure_peak(
    net: Any, row: PackedRow, dtype: str, optimizer: torch.optim.Optimizer, *, num_rows: int = 2
) -> int:
    """Return the most bytes alive in the second optimiser step of a training."""
    live = LiveBytes()
    with train_as_engine(net, dtype, "varlen") as autocast, live:
        for parameter in net.parameters():
            live.see(parameter)
        for _ in range(2):
            live.peak = live.now
            for _ in range(num_rows):
                with autocast():
                    loss = compute_token_losses(net, row).sum()
                loss.backward()
                del loss
            optimizer.step()
            optimizer.zero_grad()
    return live.peak
