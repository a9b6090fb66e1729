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
    "mixed_precision precision model_dtype pure_bf16 tf32",
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
    "wandb_entity experiment",
    "tracking.run_name": "wandb_name wandb_run_name wandb_run_id mlflow_run_name",
}

OTHER_MEANING = {
    "val_set_size": ForeignKey(("data.validation_fraction",), "a share, not a number of rows"),
    "val_size": ForeignKey(("data.validation_fraction",), "a share, not a number of rows"),
    "load_in_4bit": ForeignKey(("model.method",), "qlora trains on a 4-bit base"),
    "quantization_bit": ForeignKey(("model.method",), "qlora trains on a 4-bit base"),
    "load_in_8bit": ForeignKey(
        ("model.method",), "8-bit is not offered; qlora trains on a 4-bit base"
    ),
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
    "save_steps": ForeignKey(("training.eval_steps",), "checkpoints are taken at validations"),
    "saves_per_epoch": ForeignKey(
        ("training.eval_steps",), "checkpoints are taken at validations; by default once an epoch"
    ),
    "evals_per_epoch": ForeignKey(("training.eval_steps",), "by default once an epoch"),
    "save_strategy": ForeignKey(("training.eval_steps",), "checkpoints are taken at validations"),
    "eval_strategy": ForeignKey(("training.eval_steps",), "by default once an epoch"),
    "evaluation_strategy": ForeignKey(("training.eval_steps",), "by default once an epoch"),
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
    "report_to": ForeignKey(remark="runs are recorded in MLflow at MLFLOW_TRACKING_URI"),
    "use_wandb": ForeignKey(remark="runs are recorded in MLflow at MLFLOW_TRACKING_URI"),
    "trust_remote_code": ForeignKey(remark="no code from a model repository is run"),
    "do_train": ForeignKey(remark="hone run trains; --until STAGE stops earlier"),
    "do_eval": ForeignKey(remark="hone run always evaluates; --until STAGE stops earlier"),
    "predict_with_generate": ForeignKey(
        remark="hone run always generates the answers that it scores"
    ),
    "stage": ForeignKey(remark="training is supervised fine-tuning"),
    "overwrite_cache": ForeignKey(remark="the cache follows the content and is never stale"),
    "dataset_prepared_path": ForeignKey(remark="prepared data is kept in HONE_HOME/cache"),
    "group_by_length": ForeignKey(("training.packing",), "packed rows hold no padding"),
    "pad_to_sequence_len": ForeignKey(("training.packing",), "packed rows hold no padding"),
    "pad_token": ForeignKey(remark="the tokenizer's own is used; labels do not depend on it"),
    "ddp_timeout": ForeignKey(remark="data is formatted before training starts"),
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
