"""Our configuration as transformers' TrainingArguments."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from transformers import Trainer, TrainingArguments, get_scheduler
from transformers.training_args import OptimizerNames

from configs.errors import RequestError
from configs.schema import TrainingConfig
from tasks.training.levers import LIGER_KERNELS
from tasks.training.plan import TrainingPlan


def check_optimization(training: TrainingConfig) -> None:
    """Refuse names and arguments that transformers does not know.

    Raises:
        RequestError: Naming the key, and what transformers takes.
    """
    names = sorted(name.value for name in OptimizerNames)
    if training.optim not in names:
        raise RequestError(
            where="training.optim",
            message=f"found {training.optim}, which is no optimiser of transformers",
            allowed=", ".join(names),
        )
    check_optimizer(training.optim)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    kwargs = training.lr_scheduler_kwargs or None
    try:
        get_scheduler(
            training.lr_scheduler_type, optimizer, 1, 10, scheduler_specific_kwargs=kwargs
        )
    except (TypeError, ValueError) as err:
        raise RequestError(
            where="training.lr_scheduler_kwargs",
            message=f"found {training.lr_scheduler_kwargs}: {err}",
            allowed=f"what transformers' schedule {training.lr_scheduler_type} takes",
        ) from err


def check_optimizer(name: str) -> None:
    """Refuse an optimiser that comes from a package that is not installed, or is not configured.

    Raises:
        RequestError: With what transformers says that it needs.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            args = TrainingArguments(optim=name, use_cpu=True)
            Trainer.get_optimizer_cls_and_kwargs(args, torch.nn.Linear(1, 1))
    except (ImportError, ValueError, RuntimeError) as err:
        raise RequestError(
            where="training.optim",
            message=f"{name} cannot be used: {' '.join(str(err).split())}",
            hint="install what it needs, or take another optimiser, such as adamw_torch_fused",
        ) from err


def build_arguments(
    checkpoints: Path,
    training: TrainingConfig,
    plan: TrainingPlan,
    *,
    device: str,
    dtype: str,
    has_validation: bool,
    use_cache: bool,
    activation_checkpointing: bool,
) -> TrainingArguments:
    """Return the arguments of the loop.

    Args:
        checkpoints: Where checkpoints go.
        training: The configuration.
        plan: What was resolved from it: steps, warm-up, cadence.
        device: `cuda`, `mps` or `cpu`.
        dtype: Precision that the model computes in.
        has_validation: Whether there is a split to validate on.
        use_cache: The model's own setting, which transformers would overwrite; our forwards in
            training say for themselves that they use no cache.
        activation_checkpointing: Whether activations are computed again in the backward pass.
    """
    args = TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=plan.num_steps,
        per_device_train_batch_size=1,  # one packed row
        gradient_accumulation_steps=plan.rows_per_step // training.num_gpus,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.lr_scheduler_type,
        lr_scheduler_kwargs=training.lr_scheduler_kwargs or None,
        warmup_steps=plan.warmup_steps,
        optim=training.optim,
        weight_decay=training.weight_decay,
        adam_beta1=training.adam_beta1,
        adam_beta2=training.adam_beta2,
        adam_epsilon=training.adam_epsilon,
        max_grad_norm=training.max_grad_norm,
        seed=training.seed,
        logging_strategy="steps",
        logging_steps=plan.logging_steps,
        logging_nan_inf_filter=False,  # waits for the device at each micro-batch; guards look
        eval_strategy="steps" if has_validation else "no",
        eval_steps=plan.eval_steps,
        save_strategy="steps",
        save_steps=plan.save_steps,
        save_total_limit=None,  # older checkpoints go when the new one has its digests
        metric_for_best_model=training.metric_for_best_model if has_validation else None,
        greater_is_better=training.metric_for_best_model == "eval_accuracy",
        restore_callback_states_from_checkpoint=True,
        use_cpu=device == "cpu",
        fp16=device == "cuda" and dtype == "float16",  # for its loss scaling
        activation_checkpointing=activation_checkpointing,
        use_cache=use_cache,
        use_liger_kernel=training.use_liger_kernel,
        liger_kernel_config=LIGER_KERNELS if training.use_liger_kernel else None,
        tf32=training.tf32 if device == "cuda" else None,
        dataloader_num_workers=training.dataloader_num_workers,
        dataloader_pin_memory=training.dataloader_pin_memory and device == "cuda",
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
        push_to_hub=False,  # only the gate publishes
    )
    # One process with several GPUs: Trainer would wrap the model in nn.DataParallel, which hands
    # out padded batches along their first dimension, and takes apart a packed row. Reading n_gpu
    # sets the devices up, after which the number stays.
    args._n_gpu = min(args.n_gpu, 1)  # noqa: SLF001 - there is no public way
    return args
