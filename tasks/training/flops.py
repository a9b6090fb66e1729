"""The floating-point operations of a training, by the formulas that MFU is counted with.

For each token, with P the weights of the linear layers and f the share of tokens in the loss, which
alone pass through the head: full training takes 6 (P + f P_head), three products of two operations;
with an adapter the frozen weights get no gradient, 4 (P + f P_head) + 6 P_lora. Attention is causal
within a document: 2 q s forward for each token, block and document of s tokens, three times that in
all. What is computed again under activation checkpointing counts in HFU, never in MFU.

Source: the accounting of PaLM (Chowdhery et al. 2022, appendix B), with documents and adapters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from configs.schema import ModelConfig
from tasks.training.shapes import Shape, count_lora, is_head_trained

FORWARD = 2  # a multiplication and an addition for each weight
FROZEN = 4  # forward, and the gradient of the input
TRAINED = 6  # and that of the weight


@dataclass(frozen=True)
class Work:
    """How much text is trained on.

    Attributes:
        tokens: Real tokens; padding is no work.
        trained_tokens: Those in the loss.
        squared_tokens: The sum of the squares of the documents' lengths.
    """

    tokens: int
    trained_tokens: int
    squared_tokens: int

    def __add__(self, other: Work) -> Work:
        """Return both together."""
        return Work(
            self.tokens + other.tokens,
            self.trained_tokens + other.trained_tokens,
            self.squared_tokens + other.squared_tokens,
        )


@dataclass(frozen=True)
class FlopRates:
    """Operations of a training step by what they depend on.

    Attributes:
        token: For each real token: linear layers of the blocks and adapters.
        trained_token: For each token in the loss: the head.
        squared_token: For each square of a document's length: attention.
        recomputed_token: Of a token, under activation checkpointing, once more.
        recomputed_squared_token: Of a squared length, once more.
    """

    token: int
    trained_token: int
    squared_token: int
    recomputed_token: int = 0
    recomputed_squared_token: int = 0

    def count_model(self, work: Work) -> int:
        """Return the operations that the training needs: what MFU counts."""
        return (
            self.token * work.tokens
            + self.trained_token * work.trained_tokens
            + self.squared_token * work.squared_tokens
        )

    def count_hardware(self, work: Work) -> int:
        """Return the operations that the device executes: what HFU counts."""
        again = self.recomputed_token * work.tokens
        return self.count_model(work) + again + self.recomputed_squared_token * work.squared_tokens


def count_rates(
    shape: Shape, model: ModelConfig, *, num_checkpointed: int = 0, trained_only: bool = True
) -> FlopRates:
    """Return the operations of a training by what they depend on.

    Llama-3-8B with LoRA of rank 16: 28.2 GFLOP a token in the blocks.

    >>> from tasks.training.known_bases import KNOWN_BASES
    >>> from tasks.training.shapes import read_shape
    >>> llama = read_shape(KNOWN_BASES["meta-llama/Meta-Llama-3-8B-Instruct"])
    >>> round(count_rates(llama, ModelConfig()).token / 1e9, 1)
    28.2

    Args:
        shape: The base model's sizes.
        model: Method, rank and targets.
        num_checkpointed: Blocks whose forward pass runs again in the backward pass.
        trained_only: Whether the head runs for trained tokens only.
    """
    linear, lora = shape.num_linear_parameters, count_lora(shape, model)
    if model.method == "full":
        token = TRAINED * linear
        lora = 0
    else:
        token = FROZEN * linear + TRAINED * lora
    head = (TRAINED if is_head_trained(shape, model) else FROZEN) * shape.num_head_parameters
    attention = shape.num_layers * FORWARD * shape.queries
    share = num_checkpointed / shape.num_layers
    return FlopRates(
        token=token + (0 if trained_only else head),
        trained_token=head if trained_only else 0,
        squared_token=3 * attention,
        recomputed_token=round(share * FORWARD * (linear + lora)),
        recomputed_squared_token=round(share * attention),
    )


def count_work(lengths: Iterable[int], trained_tokens: int) -> Work:
    """Return the work of some documents.

    Args:
        lengths: Tokens of each document.
        trained_tokens: Tokens in the loss, of all of them.

    >>> count_work([3, 4], trained_tokens=5)
    Work(tokens=7, trained_tokens=5, squared_tokens=25)
    """
    lengths = list(lengths)
    return Work(sum(lengths), trained_tokens, sum(length**2 for length in lengths))
