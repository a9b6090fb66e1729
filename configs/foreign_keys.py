"""Keys of other fine-tuning systems, and what to write here instead."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ForeignKey:
    """What to write instead: our keys, and a remark where the meaning differs."""

    keys: tuple[str, ...] = ()
    remark: str = ""


# One line for each of our keys: the names that LLaMA-Factory, Axolotl, Unsloth, TRL, torchtune,
# PEFT, and older transformers use for it.
SAME_MEANING = {
    "data.source": "dataset datasets dataset_name dataset_path dataset_dir data_path train_file "
    "train_data data_files path train_dataset dataset_id",
    "data.eval_sources": "eval_dataset test_datasets eval_file validation_file test_file eval_data "
    "test_dataset",
    "data.format": "dataset_format formatting data_format dataset_type",
    "data.columns": "column_mapping columns_mapping column_map field_mapping field_messages "
    "field_instruction field_input field_output field_system field_tools dataset_text_field "
    "text_column text_field prompt_column response_column prompt_field completion_field",
    "data.roles": "role_tags role_map roles_map message_property_mappings",
    "data.system_prompt": "default_system system system_message new_system_prompt",
    "data.duplicates": "dataset_exact_deduplication exact_deduplication deduplicate dedup",
    "data.validation_fraction": "val_set_size val_size validation_split validation_size val_split "
    "validation_split_percentage",
    "data.test_fraction": "test_size test_split test_set_size",
    "model.model_name_or_path": "base_model model_name model_id pretrained_model_name_or_path "
    "base_model_name_or_path model_path hf_model_id checkpoint_dir model_type",
    "model.model_revision": "revision revision_of_model base_model_revision",
    "model.method": "finetuning_type peft_type peft_method use_peft use_lora tuning_type "
    "train_type",
    "model.dtype": "torch_dtype bf16 fp16 bfloat16 float16 compute_dtype bnb_4bit_compute_dtype "
    "mixed_precision precision model_dtype pure_bf16",
    "model.attn_implementation": "flash_attention flash_attn flash_attention_2 "
    "use_flash_attention_2 sdp_attention xformers_attention use_flash_attn attn_impl",
    "model.chat_template": "template prompt_template chat_template_jinja chat_template_path "
    "conversation_template prompt_style prompt_format template_name",
    "model.lora_r": "lora_rank r rank lora_dim peft_r lora_attention_dim",
    "model.lora_alpha": "lora_scaling peft_alpha",
    "model.lora_dropout": "dropout peft_dropout",
    "model.lora_target_modules": "lora_target target_modules lora_target_linear lora_targets "
    "lora_attn_modules apply_lora_to_mlp apply_lora_to_output lora_module_names",
    "model.lora_modules_to_save": "modules_to_save additional_target lora_modules_in_full "
    "additional_trainable_modules",
    "model.lora_bias": "bias peft_bias train_bias",
    "model.lora_layers_to_transform": "layers_to_transform peft_layers_to_transform "
    "lora_num_layers",
    "model.lora_layers_pattern": "layers_pattern peft_layers_pattern",
    "model.use_rslora": "peft_use_rslora rslora lora_use_rslora",
    "model.use_dora": "peft_use_dora dora lora_use_dora",
    "model.bnb_4bit_quant_type": "quantization_type quant_type bnb_4bit_type",
    "model.use_bnb_nested_quant": "bnb_4bit_use_double_quant double_quantization use_nested_quant "
    "use_double_quant double_quant",
    "training.num_train_epochs": "num_epochs epochs n_epochs max_epochs num_train_epoch epoch",
    "training.max_steps": "max_train_steps max_steps_per_epoch num_steps total_steps max_iters "
    "iters num_training_steps",
    "training.per_device_train_batch_size": "micro_batch_size batch_size train_batch_size "
    "per_gpu_train_batch_size train_micro_batch_size_per_gpu per_device_batch_size "
    "mini_batch_size",
    "training.gradient_accumulation_steps": "grad_accum_steps gradient_accumulation accumulation "
    "grad_accumulation accumulate_grad_batches grad_accumulation_steps",
    "training.learning_rate": "lr peak_lr base_lr max_lr initial_lr",
    "training.lr_scheduler_type": "lr_scheduler scheduler lr_schedule lr_decay_style "
    "scheduler_type",
    "training.warmup_ratio": "warmup warmup_fraction warmup_proportion lr_warmup_ratio",
    "training.warmup_steps": "num_warmup_steps lr_warmup_steps warmup_iters",
    "training.optim": "optimizer optimiser optimizer_type optimizer_name optim_type",
    "training.weight_decay": "wd decay",
    "training.adam_beta1": "beta1",
    "training.adam_beta2": "beta2",
    "training.adam_epsilon": "eps adam_eps epsilon",
    "training.max_grad_norm": "gradient_clipping clip_grad_norm grad_clip max_norm "
    "gradient_clip_val gradient_clip",
    "training.max_length": "cutoff_len sequence_len max_seq_length max_seq_len model_max_length "
    "block_size sequence_length max_source_length seq_length seq_len context_length max_tokens",
    "training.packing": "sample_packing neat_packing packed pack packing_strategy pack_sequences "
    "multipack",
    "training.gradient_checkpointing": "enable_activation_checkpointing "
    "use_gradient_checkpointing activation_checkpointing disable_gradient_checkpointing",
    "training.objective": "rl rlhf training_objective alignment_method preference_method",
    "training.num_gpus": "n_gpu n_gpus gpus num_devices devices nproc_per_node nproc num_processes "
    "world_size gpus_per_node num_gpu",
    "training.fsdp": "fsdp_config fsdp_version fully_shard use_fsdp",
    "training.launcher": "distributed_type distributed_backend use_ray strategy use_torchrun",
    "training.beta": "pref_beta dpo_beta rl_beta orpo_alpha kto_beta orpo_beta",
    "training.loss_type": "pref_loss dpo_loss_type dpo_loss kto_loss_type",
    "training.label_smoothing": "dpo_label_smoothing cdpo_epsilon",
    "training.desirable_weight": "kto_chosen_weight kto_desirable_weight",
    "training.undesirable_weight": "kto_rejected_weight kto_undesirable_weight",
    "training.init_adapter": "adapter_name_or_path lora_model_dir",
    "training.teacher": "teacher_model teacher_model_name_or_path kd_teacher",
    "training.teacher_revision": "teacher_model_revision",
    "training.distillation_weight": "kd_alpha kd_weight kd_ratio distillation_alpha",
    "training.distillation_temperature": "kd_temperature teacher_temperature",
    "training.eval_strategy": "evaluation_strategy",
    "training.eval_steps": "eval_every eval_interval val_check_interval eval_every_n_steps",
    "training.save_steps": "save_every save_interval checkpoint_interval checkpoint_every "
    "save_every_n_steps",
    "training.torch_compile": "compile compile_model use_compile",
    "training.use_liger_kernel": "enable_liger_kernel liger_kernel use_liger liger",
    "training.neftune_noise_alpha": "neftune_alpha noise_alpha neftune",
    "training.metric_for_best_model": "monitor early_stopping_metric best_model_metric",
    "training.dataloader_num_workers": "num_workers dataloader_workers",
    "training.dataloader_pin_memory": "pin_memory",
    "training.logging_steps": "log_every_n_steps log_interval logging_interval log_steps",
    "training.save_total_limit": "keep_last_n_checkpoints max_checkpoints saves_to_keep",
    "training.early_stopping_patience": "early_stopping_steps patience early_stop_patience "
    "early_stopping",
    "training.early_stopping_threshold": "early_stopping_min_delta min_delta",
    "training.seed": "random_state random_seed data_seed",
    "evaluation.max_new_tokens": "eval_max_new_tokens max_generation_length generation_max_length "
    "max_gen_length eval_table_max_new_tokens",
    "evaluation.per_device_eval_batch_size": "eval_batch_size per_gpu_eval_batch_size "
    "generation_batch_size eval_micro_batch_size",
    "evaluation.num_samples": "max_eval_samples eval_samples eval_table_size num_eval_samples",
    "publish.name": "model_registry_name registered_model_name adapter_name output_name "
    "registered_model",
    "tracking.project": "wandb_project mlflow_experiment_name experiment_name project_name "
    "experiment",
    "tracking.device_hour_price": "price_per_hour hourly_price hourly_rate gpu_hour_price "
    "gpu_price_per_hour cost_per_hour gpu_hourly_cost",
    "tracking.assumed_mfu": "mfu target_mfu expected_mfu",
    "tracking.run_name": "wandb_name wandb_run_name wandb_run_id mlflow_run_name",
    "tracking.report_to": "log_with loggers logger_type trackers",
}

OTHER_MEANING = {
    "val_set_size": ForeignKey(("data.validation_fraction",), "a share, not a number of rows"),
    "val_size": ForeignKey(("data.validation_fraction",), "a share, not a number of rows"),
    "load_in_4bit": ForeignKey(("model.method",), "qlora trains on a 4-bit base"),
    "quantization_bit": ForeignKey(("model.method",), "qlora trains on a 4-bit base"),
    "adapter": ForeignKey(("model.method",), "lora, qlora or full"),
    "full_finetuning": ForeignKey(("model.method",), "full trains all weights"),
    "train_on_inputs": ForeignKey(
        ("training.assistant_only_loss",), "the opposite: train_on_inputs: false is true here"
    ),
    "train_on_input": ForeignKey(
        ("training.assistant_only_loss",), "the opposite: train_on_input: false is true here"
    ),
    "train_on_prompt": ForeignKey(
        ("training.assistant_only_loss",), "the opposite: train_on_prompt: false is true here"
    ),
    "completion_only_loss": ForeignKey(("training.assistant_only_loss",)),
    "train_on_responses_only": ForeignKey(("training.assistant_only_loss",)),
    "roles_to_train": ForeignKey(("training.assistant_only_loss",)),
    "mask_history": ForeignKey(
        ("training.assistant_only_loss",), "every assistant turn is trained on"
    ),
    "saves_per_epoch": ForeignKey(
        ("training.save_steps",), "by default at validations, which are once an epoch"
    ),
    "evals_per_epoch": ForeignKey(("training.eval_steps",), "by default once an epoch"),
    "do_sample": ForeignKey(remark="evaluation is greedy; to sample, use hone generate"),
    "temperature": ForeignKey(remark="evaluation is greedy; to sample, use hone generate"),
    "top_p": ForeignKey(remark="evaluation is greedy; to sample, use hone generate"),
    "top_k": ForeignKey(remark="evaluation is greedy; to sample, use hone generate"),
    "output_dir": ForeignKey(
        remark="everything is written under HONE_HOME, an environment variable"
    ),
    "logging_dir": ForeignKey(remark="TensorBoard logs are in the run folder's logs/"),
    "overwrite_output_dir": ForeignKey(remark="each run has a folder of its own"),
    "resume_from_checkpoint": ForeignKey(remark="an interrupted run goes on by itself"),
    "auto_resume_from_checkpoints": ForeignKey(remark="an interrupted run goes on by itself"),
    "load_best_model_at_end": ForeignKey(remark="the best checkpoint is always the result"),
    "use_wandb": ForeignKey(("tracking.report_to",), "a list of mlflow, tensorboard and wandb"),
    "use_tensorboard": ForeignKey(
        ("tracking.report_to",), "a list of mlflow, tensorboard and wandb"
    ),
    "use_mlflow": ForeignKey(("tracking.report_to",), "a list of mlflow, tensorboard and wandb"),
    "wandb_mode": ForeignKey(remark="WANDB_MODE=offline, an environment variable"),
    "wandb_entity": ForeignKey(remark="WANDB_ENTITY, an environment variable"),
    "wandb_watch": ForeignKey(remark="weights and gradients are not sent"),
    "wandb_log_model": ForeignKey(remark="models are published to MLflow's registry alone"),
    "trust_remote_code": ForeignKey(remark="no code from a model repository is run"),
    "do_train": ForeignKey(remark="hone run trains; --until STAGE stops earlier"),
    "do_eval": ForeignKey(remark="hone run always evaluates; --until STAGE stops earlier"),
    "predict_with_generate": ForeignKey(
        remark="hone run always generates the answers that it scores"
    ),
    "stage": ForeignKey(("training.objective",), "sft, dpo, orpo or kto"),
    "ref_model": ForeignKey(
        ("training.objective",), "the base model, its adapter turned off, is the reference"
    ),
    "label_smoothing_factor": ForeignKey(
        ("training.label_smoothing",), "of preferences (dpo) only; sft has none"
    ),
    "overwrite_cache": ForeignKey(remark="the cache follows the content and is never stale"),
    "dataset_prepared_path": ForeignKey(remark="prepared data is kept in HONE_HOME/cache"),
    "group_by_length": ForeignKey(("training.packing",), "packed rows hold no padding"),
    "pad_to_sequence_len": ForeignKey(("training.packing",), "packed rows hold no padding"),
    "pad_token": ForeignKey(remark="the tokenizer's own is used; labels do not depend on it"),
    "ddp_timeout": ForeignKey(remark="data is formatted before training starts"),
    "deepspeed": ForeignKey(("training.fsdp",), "spreads the frozen base over the devices"),
    "lora": ForeignKey(("model.method", "model.lora_r", "model.lora_alpha")),
    "peft": ForeignKey(("model.method", "model.lora_r", "model.lora_alpha")),
    "lora_config": ForeignKey(("model.method", "model.lora_r", "model.lora_alpha")),
    "peft_config": ForeignKey(("model.method", "model.lora_r", "model.lora_alpha")),
    "quantization": ForeignKey(("model.method",), "qlora trains on a 4-bit base"),
    "train": ForeignKey(("training",)),
    "trainer": ForeignKey(("training",)),
    "training_args": ForeignKey(("training",)),
    "training_arguments": ForeignKey(("training",)),
    "eval": ForeignKey(("evaluation",)),
}

FOREIGN_KEYS = {
    name: ForeignKey((key,)) for key, names in SAME_MEANING.items() for name in names.split()
} | OTHER_MEANING

ONLY_THE_GATE_PUBLISHES = (
    "only the gate publishes: a model leaves the run when the evidence says that it is better"
)
PUBLISHING_KEYS = frozenset(
    {
        "push_to_hub", "hub_model_id", "hub_token", "hub_strategy", "hub_private_repo",
        "hub_revision", "hub_always_push", "push_to_hub_model_id", "push_to_hub_organization",
        "push_to_hub_token", "push_dataset_to_hub", "export_hub_model_id", "hf_repo_id",
        "hub_repo_id", "upload_to_hub", "push_adapter_to_hub", "push_to_hub_merged",
    }
)  # fmt: skip


def normalise_name(name: str) -> str:
    """Return a key's name as the tables spell it: lower case, underscores."""
    return name.lower().replace("-", "_")


def find_foreign(name: str) -> ForeignKey | None:
    """Return what to write instead of another system's key, or None when it is not known."""
    return FOREIGN_KEYS.get(normalise_name(name))
