"""Which keys of `training` belong to which objective, and what contradicts one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from configs.schema import TrainingConfig

DpoLoss = Literal[
    "sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair",
    "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop",
]  # fmt: skip
KtoLoss = Literal["kto", "apo_zero_unpaired"]
LossType = DpoLoss | KtoLoss
LOSS_TYPES: dict[str, tuple[str, ...]] = {"dpo": get_args(DpoLoss), "kto": get_args(KtoLoss)}
"""The losses that TRL has, by objective; its own default first."""
# Keys that have a meaning with some objectives only; null everywhere else.
OWN_KEYS = {
    "beta": ("dpo", "orpo", "kto"),
    "loss_type": ("dpo", "kto"),
    "label_smoothing": ("dpo",),
    "desirable_weight": ("kto",),
    "undesirable_weight": ("kto",),
    "teacher": ("sft",),
    "init_adapter": ("sft",),
}
TEACHER_KEYS = ("teacher_revision", "distillation_weight", "distillation_temperature")
# What the loop of TRL does not do; the values are the only ones that it takes.
NOT_IN_PREFERENCE: dict[str, Any] = {
    "assistant_only_loss": True,
    "neftune_noise_alpha": None,
    "torch_compile": False,
    "use_liger_kernel": False,
}
REWARD = (
    "training.objective: reward is not offered: a reward model scores answers and writes none, and "
    "the gate decides by the answers of the models that it compares; allowed: sft, dpo, orpo, kto. "
    "dpo learns from the same rows"
)


def check_objective(training: TrainingConfig) -> None:
    """Refuse keys that the objective has no use for, and values that it cannot do.

    Raises:
        ValueError: Naming the keys, what was found and what is allowed.
    """
    objective = training.objective
    if objective == "reward":
        raise ValueError(REWARD)
    for key, objectives in OWN_KEYS.items():
        if getattr(training, key) is not None and objective not in objectives:
            raise ValueError(
                f"training.{key} has no meaning with training.objective: {objective}; "
                f"allowed with: {', '.join(objectives)}"
            )
    for key in TEACHER_KEYS:
        default = type(training).model_fields[key].default
        if training.teacher is None and getattr(training, key) != default:
            raise ValueError(f"training.{key} has no meaning without training.teacher")
    for key in ("teacher", "init_adapter"):
        if training.engine != "native" and getattr(training, key) is not None:
            raise ValueError(
                f"training.{key} has no meaning with training.engine: {training.engine}; "
                "allowed with: native"
            )
    if objective != "sft":
        _check_preference(training)


def _check_preference(training: TrainingConfig) -> None:
    objective = training.objective
    for key, only in NOT_IN_PREFERENCE.items():
        if getattr(training, key, only) != only:
            raise ValueError(
                f"training.{key} does not work with training.objective: {objective}; allowed: "
                f"{'null' if only is None else str(only).lower()}"
            )
    allowed = LOSS_TYPES.get(objective, ())
    if training.loss_type is not None and training.loss_type not in allowed:
        raise ValueError(
            f"training.loss_type: {training.loss_type} is none of training.objective: "
            f"{objective}; allowed: {', '.join(allowed)}"
        )
    if training.loss_type == "exo_pair" and not training.label_smoothing:
        raise ValueError("training.loss_type: exo_pair needs training.label_smoothing above 0")
    if objective == "kto" and training.metric_for_best_model != "eval_loss":
        raise ValueError(
            "training.metric_for_best_model: with training.objective: kto there are no pairs to "
            "count; allowed: eval_loss"
        )
    if objective == "kto" and training.per_device_train_batch_size == 1:
        raise ValueError(
            "training.per_device_train_batch_size: training.objective: kto compares each answer "
            "with those of the other prompts of its batch; allowed: at least 2"
        )
