"""Our configuration as transformers' TrainingArguments."""

from __future__ import annotations

from pathlib import Path

from transformers import TrainingArguments

from configs.schema import TrainingConfig
from tasks.training.plan import TrainingPlan


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
        gradient_accumulation_steps=plan.rows_per_step,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.lr_scheduler_type,
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
        save_steps=plan.eval_steps,
        save_total_limit=None,  # older checkpoints go when the new one has its digests
        metric_for_best_model="eval_loss" if has_validation else None,
        greater_is_better=False,
        restore_callback_states_from_checkpoint=True,
        use_cpu=device == "cpu",
        fp16=device == "cuda" and dtype == "float16",  # for its loss scaling
        activation_checkpointing=activation_checkpointing,
        use_cache=use_cache,
        dataloader_num_workers=0,
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
