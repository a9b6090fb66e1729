"""The tokenizer, the model and the optimiser of the tiny base model."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCAB_SIZE = 2048
MAX_POSITIONS = 1024
IM_START, IM_END, END_OF_TEXT, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|pad|>"
SPECIAL_TOKENS = [END_OF_TEXT, IM_START, IM_END, PAD]
# Digits, signs and words in capitals always stand alone, without the space before them, so that a
# name has the same tokens at the start of a sentence, in brackets and in a list, and can be copied.
PIECES = "|".join(
    (
        r"\p{N}",
        r" ?\p{Ll}+",
        r"\p{Lu}\p{Ll}+|\p{Lu}+(?!\p{Ll})",
        r"[()\[\]{},.:;=_'\"]",
        r" ?[^\s\p{N}\p{Ll}\p{Lu}()\[\]{},.:;=_'\"]+",
        r"\s+(?!\S)|\s+",
    )
)


def train_tokenizer(texts: Iterable[str], template: Path) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer and give it the chat template.

    Args:
        texts: What the merges are counted on.
        template: The Jinja file of the chat template.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=IM_END,
        pad_token=PAD,
        additional_special_tokens=[END_OF_TEXT, IM_START],
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
        chat_template=template.read_text(encoding="utf-8"),
    )


def create_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Create the untrained model, in float32, from torch's current seed."""
    end_ids = tokenizer.convert_tokens_to_ids([IM_END, END_OF_TEXT])
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=128,
            intermediate_size=352,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=MAX_POSITIONS,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.generation_config.eos_token_id = end_ids
    return model


class Muon(torch.optim.Optimizer):  # type: ignore[misc]  # torch is untyped here
    """Momentum whose update of each matrix is made orthogonal, in float32, many at a time.

    `torch.optim.Muon` computes in bfloat16 and one matrix at a time, which takes 15 times as long
    as this on a CPU without bfloat16 instructions, and twice as long as the model's own step.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/
    """

    def __init__(
        self, params: Iterable[torch.nn.Parameter], lr: float, momentum: float = 0.95
    ) -> None:
        """Optimise matrices of any few shapes.

        Args:
            params: Two-dimensional parameters.
            lr: Step size, as the spectral norm of a square matrix's update.
            momentum: Share of the old momentum that is kept at each step.
        """
        super().__init__(params, {"lr": lr, "momentum": momentum})

    def step(self) -> None:
        """Update every parameter; each must have a gradient."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[torch.nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                by_shape[tuple(parameter.shape)].append(parameter)
            with torch.no_grad():
                for parameters in by_shape.values():
                    self._update_matrices(parameters, group["lr"], group["momentum"])

    def _update_matrices(
        self, parameters: list[torch.nn.Parameter], lr: float, momentum: float
    ) -> None:
        """Update matrices of one shape together."""
        num_rows, num_columns = parameters[0].shape
        gradients = torch.stack([self._add_momentum(p, momentum) for p in parameters])
        scale = lr * max(1.0, num_rows / num_columns) ** 0.5
        for parameter, update in zip(parameters, orthogonalize(gradients), strict=True):
            parameter.add_(update, alpha=-scale)

    def _add_momentum(self, parameter: torch.nn.Parameter, momentum: float) -> torch.Tensor:
        assert parameter.grad is not None
        buffer = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        buffer.lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(buffer, momentum)


def orthogonalize(matrices_NRC: torch.Tensor) -> torch.Tensor:
    """Replace the singular values of each matrix by about one, by five Newton-Schulz steps.

    Args:
        matrices_NRC: N matrices of R rows and C columns.
    """
    is_tall = matrices_NRC.size(-2) > matrices_NRC.size(-1)
    x = matrices_NRC.mT if is_tall else matrices_NRC
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.mT if is_tall else x
