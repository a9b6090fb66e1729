"""What an optimiser keeps on the device for each trained parameter, by transformers' names."""

from __future__ import annotations

from dataclasses import dataclass

FLOAT32 = 4.0
EIGHT_BITS = 1 + 4 / 256  # and a float32 scale for each block of 256 values
FOUR_BITS = 0.5 + 4 / 128  # and one for each block of 128


@dataclass(frozen=True)
class OptimizerCost:
    """What an optimiser takes.

    Attributes:
        state_bytes: Kept for each trained parameter.
        step_bytes: Held for each trained parameter during its step, beside the state.
        is_paged: Whether the state moves to the processor's memory when the device is full.
        is_known: Whether the name is one of those below; others are counted as AdamW.
    """

    state_bytes: float
    step_bytes: float = 0.0
    is_paged: bool = False
    is_known: bool = True


# Numbers of moments; adafactor's are sums over rows and columns, which weigh nothing.
STATES = {
    "adamw_torch_fused": 2 * FLOAT32,
    "adamw_torch": 2 * FLOAT32,
    "adamw_anyprecision": 2 * FLOAT32,
    "adamw_torch_8bit": 2 * EIGHT_BITS,
    "adamw_torch_4bit": 2 * FOUR_BITS,
    "adamw_8bit": 2 * EIGHT_BITS,
    "adamw_bnb_8bit": 2 * EIGHT_BITS,
    "adamw_32bit": 2 * FLOAT32,
    "stable_adamw": 2 * FLOAT32,
    "schedule_free_adamw": 2 * FLOAT32,
    "ademamix": 3 * FLOAT32,
    "ademamix_32bit": 3 * FLOAT32,
    "ademamix_8bit": 3 * EIGHT_BITS,
    "lion_32bit": FLOAT32,
    "lion_8bit": EIGHT_BITS,
    "rmsprop": FLOAT32,
    "rmsprop_bnb": FLOAT32,
    "rmsprop_bnb_32bit": FLOAT32,
    "rmsprop_bnb_8bit": EIGHT_BITS,
    "adagrad": FLOAT32,
    "adafactor": 0.0,
    "sgd": 0.0,
}
# They go over all parameters at once, with a copy of them in between; a fused step has none.
COPYING = frozenset({"adamw_torch", "rmsprop", "adagrad"})


def find_optimizer_cost(name: str) -> OptimizerCost:
    """Return what an optimiser takes.

    Args:
        name: As in `training.optim`.

    >>> find_optimizer_cost("adamw_torch_fused").state_bytes
    8.0
    >>> find_optimizer_cost("paged_adamw_8bit")
    OptimizerCost(state_bytes=2.03125, step_bytes=0.0, is_paged=True, is_known=True)
    """
    is_paged = name.startswith("paged_")
    plain = name.removeprefix("paged_")
    state = STATES.get(plain)
    step = FLOAT32 if plain in COPYING else 0.0
    if state is None:
        return OptimizerCost(2 * FLOAT32, step, is_paged, is_known=False)
    return OptimizerCost(state, step, is_paged)
