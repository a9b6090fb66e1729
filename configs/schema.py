"""Every field of a run, typed and documented; each default is written here and nowhere else."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from configs.metrics import (
    DEFAULT_METRICS,
    CustomMetricName,
    JsonSchema,
    MetricFunction,
    MetricName,
    MetricReference,
    Pattern,
    check_deciding,
)
from configs.objectives import LossType, check_objective

Fraction = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(gt=0)]
URL_PATTERN = r"^https?://[^\s@]+$"  # no user and password: keys come from the environment
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # lakeFS tags and MLflow names refuse a slash

FormatName = Literal[
    "messages", "prompt-completion", "alpaca", "sharegpt", "preference", "kto", "text"
]
QualityRule = Literal["repeated_lines", "repeated_ngrams", "truncated_json"]
TargetName = Literal["local", "hub", "package"]
FieldValue = str | bool | int | float
"""What a field of a row may hold that a slice is made by."""
TrackerName = Literal["mlflow", "tensorboard", "wandb"]


class Section(BaseModel):
    """A frozen section: unknown keys are refused, the text under a field is its documentation."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )


def check_set_name(name: str) -> str:
    """Refuse a name that is no folder's name, or that of the training data."""
    if re.match(NAME_PATTERN, name) is None or name.endswith("\n") or name == "train":
        raise ValueError(
            f"data.eval_sources names a set {name!r}; allowed: letters, digits, '.', '_' and '-', "
            "a letter or digit first, and not 'train'"
        )
    return name


SetName = Annotated[str, AfterValidator(check_set_name)]


class DataConfig(Section):
    """Where the rows come from, how they are read, cleaned and split."""

    source: str = Field(default="data/flowroll", title="Source")
    """A file, a folder (also one written by `save_to_disk`), `lakefs://REPOSITORY/REF/PATH`, or a
    data set on the hub, `hf://NAME@REVISION`. Relative paths: in a preset from the preset's folder,
    on the command line from the current folder, elsewhere from hone's clone."""
    keep_prepared: bool = Field(default=True, title="Keep prepared data")
    """Commit the splits, the ledger and the statistics of a `lakefs://` source to the branch
    `hone-prepared` of its repository. False for keys that may only read."""
    pattern: str | None = Field(default=None, title="Pattern")
    """Which files of a folder are training data, as a glob; by default all readable ones."""
    format: FormatName | None = Field(default=None, title="Format")
    """The format of the rows; detected from their keys when not given."""
    columns: dict[str, str] = Field(default={}, title="Columns")
    """Foreign keys of rows and the keys that they stand for, such as `question: prompt`; all else,
    `group_by` too, goes by the new key."""
    roles: dict[str, str] = Field(default={}, title="Roles")
    """Foreign role names and what they mean, such as `bot: assistant`."""
    system_prompt: str | None = Field(default=None, title="System prompt")
    """A system turn put before every conversation that has none."""
    group_by: str | None = Field(default=None, title="Group by")
    """The field whose rows belong together (one source, one conversation): they are never split
    apart, and the gate resamples groups. By default rows with equal prompts are one group."""
    eval_sources: dict[SetName, str] = Field(default={}, title="Evaluation sources")
    """More evaluation sets by name, each a file. `eval/{test,dev,adversarial,validation}.*` of a
    folder are found by themselves."""
    validation_fraction: Fraction = Field(default=0.1, title="Validation fraction")
    """Share of the groups split off for early stopping and the best checkpoint."""
    test_fraction: Fraction = Field(default=0.1, title="Test fraction")
    """Share of the groups split off as `test` when the source brings no test set."""
    max_invalid_fraction: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, title="Tolerated share of invalid rows"
    )
    """More broken rows than this share stop the run."""
    duplicates: Literal["filter", "keep"] = Field(default="filter", title="Exact duplicates")
    """What happens to a training row that repeats an earlier one exactly."""
    near_duplicates: Literal["off", "filter", "group"] = Field(
        default="off", title="Near-duplicates"
    )
    """`filter` leaves out a training row that is nearly an earlier one; `group` keeps them all and
    never splits them apart. Both leave out training rows near a held-out row (`near_test`)."""
    near_duplicate_threshold: Annotated[float, Field(ge=0.7, le=1)] = Field(
        default=0.8, title="Near-duplicate threshold"
    )
    """Least estimated share of common five-character pieces (Jaccard) of two near-duplicates."""
    split_version: PositiveInt = Field(default=1, title="Split version")
    """Another number splits all rows afresh, with a renewed test set whose looks start afresh. With
    the same one no row ever changes its split, whatever rows are added."""
    unicode: Literal["nfc", "keep"] = Field(default="keep", title="Unicode normalisation")
    """`nfc` composes characters (e + accent becomes é); the rows that it changes are counted."""
    min_chars: int = Field(default=0, ge=0, title="Least characters")
    """Training rows with fewer characters (system turns do not count) are filtered; 0: no limit."""
    max_chars: int = Field(default=0, ge=0, title="Most characters")
    """Training rows with more characters (system turns do not count) are filtered; 0: no limit."""
    quality: tuple[QualityRule, ...] = Field(default=(), title="Quality rules")
    """Rules that filter training rows by their answers, or by their text, in any language:
    `repeated_lines` (more than 30 % of the characters stand in lines that repeat earlier ones),
    `repeated_ngrams` (more than 80 % of the ten-character pieces repeat earlier ones),
    `truncated_json` (it begins as JSON and ends early)."""
    pii: Literal["off", "report", "mask"] = Field(default="off", title="Personal data")
    """E-mail addresses, phone and card numbers, public IP addresses and keys of known shapes:
    `report` counts the rows that hold them; `mask` also puts [EMAIL], [PHONE], [CARD], [IP] or
    [KEY] in their place, in rows of all sets."""
    undesired: Literal["filter", "keep"] = Field(default="filter", title="Undesired answers")
    """What happens to `kto` rows with `label: false`: left out (counted), or kept for
    `training.objective: kto`, which learns from them. Evaluation sets never hold them."""
    overlap: Literal["error", "filter"] = Field(default="error", title="Overlap with evaluation")
    """What happens to a training row whose prompt, or group by `group_by`, stands in an evaluation
    set: stop the run, or leave the row out (counted)."""
    overlong: Literal["error", "cut", "filter"] = Field(default="error", title="Overlong rows")
    """What happens to a training or validation row of more than `training.max_length` tokens: stop
    the run, cut its end (counted; refused where that removes the trained end), or leave the row out
    (counted). Rows of evaluation sets are never cut or left out."""


class ModelConfig(Section):
    """The base model and what is trained on it."""

    model_name_or_path: str = Field(default="data/tiny-base", title="Base model")
    """A Hugging Face id or a folder with the model's files."""
    model_revision: str | None = Field(default=None, title="Revision")
    """Branch, tag or commit of a hub model; pinned to its commit hash at the start."""
    method: Literal["lora", "qlora", "full"] = Field(default="lora", title="Method")
    """`lora` trains an adapter, `qlora` one on a 4-bit base, `full` all weights."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(default="auto", title="Dtype")
    """Precision of the base weights; `auto`: bfloat16 on a GPU that has it, else float32."""
    attn_implementation: Literal["auto", "eager", "sdpa", "varlen"] = Field(
        default="auto", title="Attention"
    )
    """`varlen` computes attention per document without a mask; `auto` takes it when packing."""
    chat_template: str | None = Field(default=None, title="Chat template")
    """A built-in template's name or a Jinja file; by default the tokenizer's own."""
    lora_r: PositiveInt = Field(default=16, title="LoRA rank")
    """Rank of the adapter matrices."""
    lora_alpha: PositiveInt = Field(default=32, title="LoRA alpha")
    """Scale of the adapter: its output is multiplied by alpha / r."""
    lora_dropout: Fraction = Field(default=0.0, title="LoRA dropout")
    """Dropout on the adapter's input; 0 allows the fused path."""
    lora_target_modules: str | tuple[str, ...] = Field(default="all-linear", title="LoRA targets")
    """Module names that get an adapter, or `all-linear`."""
    lora_modules_to_save: tuple[str, ...] = Field(default=(), title="Modules trained in full")
    """Modules trained and saved in full beside the adapter, such as `embed_tokens`."""
    use_rslora: bool = Field(default=False, title="rsLoRA")
    """Scale by alpha / sqrt(r) instead of alpha / r."""
    use_dora: bool = Field(default=False, title="DoRA")
    """Decompose weights into magnitude and direction."""
    lora_bias: Literal["none", "all", "lora_only"] = Field(default="none", title="LoRA bias")
    """Which biases are trained beside the adapter: none, all of the model's, or those of its
    targets."""
    lora_layers_to_transform: tuple[int, ...] | None = Field(default=None, title="LoRA layers")
    """Numbers of the decoder blocks that get an adapter, from 0; by default all of them."""
    lora_layers_pattern: str | None = Field(default=None, title="LoRA layers pattern")
    """Name of the list of decoder blocks, such as `layers` or `h`, where peft does not know it;
    read only with `lora_layers_to_transform`."""
    load_in_8bit: bool = Field(default=False, title="8-bit base")
    """Let `qlora` train on an 8-bit base (LLM.int8) instead of a 4-bit one; its outputs depend a
    little on what is computed together."""
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = Field(default="nf4", title="4-bit type")
    """The 4-bit data type of `qlora`."""
    use_bnb_nested_quant: bool = Field(default=True, title="Nested quantisation")
    """Quantise the quantisation constants of `qlora` too."""


# These change how a training is carried out, never what comes out of it.
CARRYING_OUT = (
    "dataloader_num_workers", "dataloader_pin_memory", "eval_accumulation_steps", "grace_seconds",
    "launcher", "fsdp", "activation_offloading",
)  # fmt: skip


class TrainingConfig(Section):
    """The optimisation; names and meanings are those of transformers' TrainingArguments and TRL."""

    objective: Literal["sft", "dpo", "orpo", "kto", "reward"] = Field(
        default="sft", title="Objective"
    )
    """What is learnt: `sft` the answers (of `preference` rows the chosen ones); `dpo` and `orpo` to
    prefer the chosen to the rejected answers of `preference` rows; `kto` to tell desired from
    undesired answers of `kto` rows. All but `sft` need the extra `preference` (TRL) and do not
    pack. `reward` is refused: a model that scores cannot be judged by its answers."""
    engine: Literal["native", "llamafactory"] = Field(default="native", title="Engine")
    """What trains: hone itself, or LLaMA-Factory in an environment of its own, which is installed
    at first use (several GB) or named by HONE_LLAMAFACTORY. It gets hone's tokens, does not pack,
    and what it cannot honour is refused."""
    engine_args: dict[str, Any] = Field(default={}, title="Engine's own keys")
    """Keys of LLaMA-Factory that hone has no name for, such as `loraplus_lr_ratio`, or
    `finetuning_type: freeze` with `model.method: full`. None that hone sets or publishes by."""
    num_gpus: PositiveInt = Field(default=1, title="GPUs")
    """Devices that share each optimiser step, one process for each; on a machine without a GPU,
    processes on its processors. They are in the effective batch, so another number trains another
    model."""
    launcher: Literal["auto", "process", "torchrun", "ray"] = Field(
        default="auto", title="Launcher"
    )
    """What starts the training: `process` this very process, `torchrun` a process for each device
    of this host, `ray` workers of a Ray cluster (RAY_ADDRESS; else one on this host), which needs
    the extra `ray` and HONE_HOME on a file system that all hosts share. `auto`: `process` for one
    device, `torchrun` for more."""
    fsdp: bool = Field(default=False, title="Shard the base model")
    """Spread the frozen base of a `lora` training over the devices (FSDP2), for one that no device
    holds alone; every layer is sent around in each pass. `full` and `qlora` are not spread."""
    beta: Annotated[float, Field(gt=0)] | None = Field(default=None, title="Beta")
    """`dpo`, `kto`: how much it costs to move away from the base model; `orpo`: the weight of the
    odds ratio; by default TRL's 0.1."""
    loss_type: LossType | None = Field(default=None, title="Loss type")
    """The loss of `dpo` or `kto`, as TRL names it; by default `sigmoid` and `kto`."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] | None = Field(
        default=None, title="Label smoothing"
    )
    """`dpo`: the share of pairs that may be labelled the wrong way round; by default 0."""
    desirable_weight: Annotated[float, Field(gt=0)] | None = Field(
        default=None, title="Weight of desired answers"
    )
    """`kto`: the weight of the losses of desired answers; by default 1."""
    undesirable_weight: Annotated[float, Field(gt=0)] | None = Field(
        default=None, title="Weight of undesired answers"
    )
    """`kto`: the weight of the losses of undesired answers; by default 1."""
    teacher: str | None = Field(default=None, title="Teacher")
    """A model to distil, a Hugging Face id or a folder, with the vocabulary of the base model:
    `sft` also learns the teacher's probabilities of each trained token."""
    teacher_revision: str | None = Field(default=None, title="Teacher's revision")
    """Branch, tag or commit of a teacher on the hub; pinned to its commit hash."""
    distillation_weight: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, title="Distillation weight"
    )
    """Share w of the teacher: the loss is (1 - w) x cross-entropy + w x temperature squared x
    KL(teacher, model). The validation loss is cross-entropy alone."""
    distillation_temperature: Annotated[float, Field(gt=0)] = Field(
        default=1.0, title="Distillation temperature"
    )
    """What the logits of teacher and model are divided by before they are compared."""
    init_adapter: str | None = Field(
        default=None, pattern=r"^models:/[^/@]+/\d+$", title="Adapter to start from"
    )
    """A published version, `models:/NAME/VERSION`, whose adapter the training starts from instead
    of a new one that changes nothing: of the same base, rank, scale and modules (`sft`, `lora` and
    `qlora`). `retrain` fills in the champion with `rules.start_from: champion`."""
    num_train_epochs: Annotated[float, Field(gt=0)] = Field(default=3.0, title="Epochs")
    """Passes over the training rows."""
    max_steps: int = Field(default=-1, ge=-1, title="Steps")
    """Optimiser steps; -1: as many as the epochs need."""
    per_device_train_batch_size: PositiveInt = Field(default=4, title="Batch size")
    """Examples (not packed rows) a device takes at a time."""
    gradient_accumulation_steps: PositiveInt = Field(default=4, title="Accumulation")
    """Batches of examples an optimiser step is made of. Effective batch, in examples:
    per_device_train_batch_size x gradient_accumulation_steps x devices, whatever the packing."""
    learning_rate: Annotated[float, Field(ge=0)] = Field(default=2e-4, title="Learning rate")
    """Peak learning rate."""
    lr_scheduler_type: Literal[
        "linear", "cosine", "cosine_with_restarts", "cosine_with_min_lr", "polynomial", "constant",
        "constant_with_warmup", "inverse_sqrt", "warmup_stable_decay",
    ] = Field(default="cosine", title="Schedule")  # fmt: skip
    """How the learning rate changes after the warm-up."""
    lr_scheduler_kwargs: dict[str, float] = Field(default={}, title="Schedule arguments")
    """What the schedule takes besides, under transformers' names: `num_cycles`, `min_lr_rate`,
    `power`, `num_decay_steps`, ..."""
    warmup_ratio: Fraction = Field(default=0.03, title="Warm-up ratio")
    """Share of the steps in which the learning rate rises; resolved to steps."""
    warmup_steps: int = Field(default=0, ge=0, title="Warm-up steps")
    """Steps in which the learning rate rises; when above 0 it goes before `warmup_ratio`."""
    optim: str = Field(default="adamw_torch_fused", title="Optimiser")
    """An optimiser's name as transformers spells it."""
    weight_decay: Annotated[float, Field(ge=0)] = Field(default=0.0, title="Weight decay")
    """Decoupled weight decay."""
    adam_beta1: Fraction = Field(default=0.9, title="Adam beta 1")
    """Decay of the first moment."""
    adam_beta2: Fraction = Field(default=0.999, title="Adam beta 2")
    """Decay of the second moment."""
    adam_epsilon: Annotated[float, Field(gt=0)] = Field(default=1e-8, title="Adam epsilon")
    """Added to the denominator."""
    max_grad_norm: Annotated[float, Field(gt=0)] = Field(default=1.0, title="Gradient norm")
    """Gradients are clipped to this norm."""
    max_length: PositiveInt = Field(default=2048, title="Row length in tokens")
    """Longest example, and the token budget of a packed row."""
    packing: bool = Field(default=True, title="Packing")
    """Put several examples into one row without padding, attention kept apart."""
    assistant_only_loss: bool = Field(default=True, title="Train on assistant turns only")
    """Loss on assistant turns and their end token; false: on every token after the first."""
    gradient_checkpointing: Literal["auto", "on", "off"] = Field(
        default="auto", title="Activation checkpointing"
    )
    """Recompute activations in the backward pass; `auto`: when the memory plan asks for it."""
    activation_offloading: bool = Field(default=False, title="Activation offloading")
    """Recompute all blocks, and keep their inputs in the processor's memory meanwhile, for rows
    that fit a GPU no other way; `hone plan` says what that saves and costs."""
    torch_compile: bool = Field(default=False, title="Compile")
    """Compile the decoder blocks with torch.compile; pays on a GPU, in long trainings. Rows are
    then filled up to one constant length, chosen so that little of it is padding."""
    torch_compile_backend: str = Field(default="inductor", title="Compiler")
    """torch.compile's backend."""
    use_liger_kernel: bool = Field(default=False, title="Liger kernels")
    """Fused kernels for norms, rotary embedding and activation; needs a GPU and the extra
    `liger`."""
    trained_logits_only: bool = Field(default=True, title="Logits of trained tokens only")
    """Run the output head for trained tokens only; false: for every token, to measure the gain."""
    chunked_loss: bool = Field(default=True, title="Loss in chunks")
    """Take the loss of many tokens in pieces, so that float32 logits never exist all at once."""
    cast_adapter_inputs: bool = Field(default=False, title="Cast adapter inputs")
    """Let peft cast each adapter's input to float32 where autocast makes that needless."""
    neftune_noise_alpha: Annotated[float, Field(gt=0)] | None = Field(
        default=None, title="NEFTune noise"
    )
    """Uniform noise on the embeddings in training, scaled by alpha / sqrt(tokens x width) of each
    example; null: none."""
    tf32: bool | None = Field(default=None, title="TF32")
    """Let float32 matrix products on Ampere and newer use TensorFloat-32; null: torch's own
    choice."""
    eval_strategy: Literal["no", "steps", "epoch"] | None = Field(
        default=None, title="When to validate"
    )
    """By default `steps` where `eval_steps` is given, else `epoch`; `no`: never, and the last step
    is the result."""
    eval_steps: PositiveInt | None = Field(default=None, title="Validation every N steps")
    """Steps between validations."""
    save_strategy: Literal["best", "steps", "epoch"] | None = Field(
        default=None, title="When to save"
    )
    """When checkpoints are written besides the best and the last one, which always are; by default
    `steps` where `save_steps` is given, else at validations."""
    save_steps: PositiveInt | None = Field(default=None, title="Checkpoint every N steps")
    """Steps between checkpoints."""
    metric_for_best_model: Literal["eval_loss", "eval_accuracy"] = Field(
        default="eval_loss", title="Metric of the best checkpoint"
    )
    """What chooses the best checkpoint and stops early: the mean loss of the validation split's
    trained tokens, or the share of them that the model would have chosen itself."""
    greater_is_better: bool | None = Field(default=None, title="Greater is better")
    """Whether a greater metric is better; known of both, and refused where it contradicts."""
    eval_accumulation_steps: PositiveInt | None = Field(
        default=None, title="Validation accumulation"
    )
    """Validation rows whose losses stay on the device before they are moved off it; by default all
    (four bytes a token)."""
    logging_steps: PositiveInt = Field(default=10, title="Log every N steps")
    """Optimiser steps between logged metrics; checkpoints are aligned to it."""
    save_total_limit: PositiveInt = Field(default=2, title="Checkpoints kept")
    """Newest checkpoints kept, besides the best one."""
    early_stopping_patience: PositiveInt | None = Field(default=3, title="Patience")
    """Validations without improvement after which training stops; null: never."""
    early_stopping_threshold: Annotated[float, Field(ge=0)] = Field(
        default=0.0, title="Early-stopping threshold"
    )
    """An improvement of `metric_for_best_model` that is not above this does not count."""
    dataloader_num_workers: int = Field(default=0, ge=0, title="Loader workers")
    """Processes that put rows together ahead of the training; 0: the training's own."""
    dataloader_pin_memory: bool = Field(default=True, title="Pinned memory")
    """Put rows into page-locked memory, from which a GPU copies faster."""
    grace_seconds: Annotated[float, Field(ge=0)] = Field(default=20.0, title="Grace in seconds")
    """Time that a training has to end its step and save when it is told to end (SIGTERM); where
    that would take longer, the last checkpoint stands."""
    num_sample_generations: int = Field(default=2, ge=0, title="Sample generations")
    """Validation prompts answered at each validation, to look at."""
    seed: int = Field(default=42, ge=0, title="Seed")
    """Seed of the order of the examples, the adapter's initial weights and dropout."""

    @property
    def describes_result(self) -> dict[str, Any]:
        """What determines the trained weights: all but how the work is carried out.

        Of an adapter to start from the content counts, not the name.
        """
        return self.model_dump(mode="json", exclude={*CARRYING_OUT, "init_adapter"})

    @model_validator(mode="after")
    def check_engine(self) -> TrainingConfig:
        """Refuse keys of another engine, and objectives that the engine is not given."""
        if self.engine == "native" and self.engine_args:
            raise ValueError(
                f"training.engine_args: {', '.join(sorted(self.engine_args))}; with "
                "training.engine: native every key has a field of its own"
            )
        if self.engine != "native" and self.objective != "sft":
            raise ValueError(
                f"training.engine: {self.engine} with training.objective: {self.objective}; "
                "allowed: sft"
            )
        if self.engine != "native" and self.packing:  # it counts packed rows, not examples
            raise ValueError(
                f"training.engine: {self.engine} does not pack; write training.packing: false"
            )
        return self

    @model_validator(mode="after")
    def check_launcher(self) -> TrainingConfig:
        """Refuse several devices where only one is known to train, and launchers of no use."""
        if self.num_gpus > 1 and self.launcher == "process":
            raise ValueError(
                f"training.launcher: process is one process; found training.num_gpus: "
                f"{self.num_gpus}; allowed: auto, torchrun, ray"
            )
        if self.fsdp and (
            self.num_gpus == 1 or self.torch_compile or self.teacher or self.init_adapter
        ):
            raise ValueError(
                "training.fsdp: true needs training.num_gpus above 1, and none of "
                "training.torch_compile, training.teacher and training.init_adapter"
            )
        if self.num_gpus > 1 and (self.engine != "native" or self.objective != "sft"):
            raise ValueError(
                f"training.num_gpus: {self.num_gpus} with training.engine: {self.engine} and "
                f"training.objective: {self.objective}; allowed: 1, or native with sft"
            )
        return self

    @model_validator(mode="after")
    def check_offloading(self) -> TrainingConfig:
        """Refuse to keep the inputs of blocks that are not computed again, or are compiled."""
        if self.activation_offloading and (
            self.gradient_checkpointing == "off" or self.torch_compile
        ):
            raise ValueError(
                "training.activation_offloading: true needs training.gradient_checkpointing: on or "
                "auto, and no training.torch_compile"
            )
        return self

    @model_validator(mode="after")
    def check_objective(self) -> TrainingConfig:
        """Refuse keys that the objective has no use for."""
        check_objective(self)
        return self

    @model_validator(mode="after")
    def check_cadence(self) -> TrainingConfig:
        """Refuse cadences and metrics that contradict one another."""
        for name in ("eval", "save"):
            strategy = getattr(self, f"{name}_strategy")
            if strategy not in {None, "steps"} and getattr(self, f"{name}_steps"):
                raise ValueError(
                    f"training.{name}_steps has no meaning with training.{name}_strategy: "
                    f"{strategy}; allowed: steps"
                )
            if strategy == "steps" and not getattr(self, f"{name}_steps"):
                raise ValueError(f"training.{name}_strategy: steps needs training.{name}_steps")
        is_greater = self.metric_for_best_model == "eval_accuracy"
        if self.greater_is_better not in {None, is_greater}:
            raise ValueError(
                f"training.greater_is_better: {str(self.greater_is_better).lower()} contradicts "
                f"training.metric_for_best_model: {self.metric_for_best_model}"
            )
        return self


class EvaluationConfig(Section):
    """How models are scored."""

    metrics: tuple[MetricName, ...] = Field(default=DEFAULT_METRICS, title="Metrics")
    """What is computed for each example, split and slice; docs/metrics.md has the formulas. Metrics
    that other keys here ask for are added."""
    custom_metrics: dict[CustomMetricName, MetricFunction] = Field(
        default={}, title="Metrics of your own"
    )
    """Metrics by name, each `MODULE:FUNCTION` or `FOLDER/FILE.py:FUNCTION`: a function that takes
    any of `prediction`, `reference`, `prompt` and `fields` of a row and returns a number, more
    being better; the metric is the mean."""
    answer_pattern: Pattern = Field(default=None, title="Pattern of answers")
    """A regular expression that a whole answer must match; gives the metric `format_valid`."""
    answer_schema: JsonSchema = Field(default={}, title="JSON schema of answers")
    """The JSON schema that an answer must be an instance of; gives the metric `format_valid`."""
    toxicity_model: str | None = Field(default=None, title="Toxicity classifier")
    """A text classifier, a folder or a Hugging Face id such as `unitary/toxic-bert`; gives the
    metric `toxicity`: the mean probability that an answer has `toxicity_label`."""
    toxicity_label: str = Field(default="toxic", min_length=1, title="Toxic label")
    """The classifier's label that means toxic."""
    lm_eval_tasks: tuple[str, ...] = Field(default=(), title="lm-eval tasks")
    """Tasks of lm-eval (extra `lm-eval`) that every model answers too, such as `arc_easy`; each is
    an evaluation set `lm_eval_TASK` with the metrics `acc`, `acc_norm` or `exact_match`."""
    lm_eval_path: str | None = Field(default=None, title="Folder of lm-eval tasks")
    """A folder with descriptions of more tasks, in lm-eval's YAML."""
    lm_eval_limit: PositiveInt | None = Field(default=None, title="Examples of lm-eval tasks")
    """Answer only the first so many examples of each task; by default all."""
    slice_by: tuple[str, ...] = Field(default=(), title="Slice by")
    """Fields of the rows, such as `kind`, for each of whose values metrics are given too."""
    max_new_tokens: PositiveInt = Field(default=256, title="New tokens")
    """Longest answer; an answer that does not end by itself is counted."""
    per_device_eval_batch_size: PositiveInt = Field(default=32, title="Batch size")
    """Prompts answered at a time."""
    engine: Literal["static", "continuous", "vllm", "openai"] = Field(
        default="static", title="Engine"
    )
    """What answers the prompts: `static` padded batches of transformers; `continuous` its
    continuous batching, which needs a GPU with a flash attention kernel; `vllm` (extra `vllm`);
    `openai` the server at `endpoint_url` (extra `openai`), in `hone evaluate` alone."""
    endpoint_url: str | None = Field(default=None, pattern=URL_PATTERN, title="Endpoint")
    """The address of an OpenAI-compatible server, up to `/v1`; its key comes from
    OPENAI_API_KEY."""
    endpoint_model: str | None = Field(default=None, min_length=1, title="Endpoint's model")
    """The name by which that server calls the model."""
    judge_url: str | None = Field(default=None, pattern=URL_PATTERN, title="Judge's server")
    """The address of an OpenAI-compatible server, up to `/v1`, whose model compares the candidate's
    answers with its opponents', in both orders (extra `openai`; key in OPENAI_API_KEY). What it
    finds stands in the report and decides nothing."""
    judge_model: str | None = Field(default=None, min_length=1, title="Judge")
    """The name by which that server calls the judge."""
    judge_samples: PositiveInt = Field(default=100, title="Judged samples")
    """Judge only this many rows (the first by hash)."""
    num_samples: PositiveInt | None = Field(default=None, title="Samples")
    """Evaluate only this many rows of each set (the first by hash); by default all."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """All metrics that are computed, those that other keys ask for last."""
        has_format = self.answer_pattern is not None or bool(self.answer_schema)
        asked = {
            "format_valid": has_format,
            "toxicity": self.toxicity_model is not None,
            "acc": bool(self.lm_eval_tasks),
            "acc_norm": bool(self.lm_eval_tasks),
        }
        added = (name for name, is_asked in asked.items() if is_asked)
        return (*self.metrics, *added, *self.custom_metrics)

    @model_validator(mode="after")
    def check_endpoint(self) -> EvaluationConfig:
        """Refuse an endpoint without an address or a model's name."""
        if self.engine == "openai" and not (self.endpoint_url and self.endpoint_model):
            raise ValueError(
                "evaluation.engine: openai needs evaluation.endpoint_url and "
                "evaluation.endpoint_model"
            )
        if (self.judge_url is None) != (self.judge_model is None):
            raise ValueError("evaluation.judge_url and evaluation.judge_model go together")
        if self.engine == "openai" and self.lm_eval_tasks:
            raise ValueError(
                "evaluation.lm_eval_tasks needs likelihoods, which evaluation.engine: openai does "
                "not give; allowed: static, continuous, vllm"
            )
        return self

    @property
    def describes_predictions(self) -> dict[str, Any]:
        """What determines answers and scores: all but how they are summed up."""
        return self.model_dump(
            mode="json", exclude={"slice_by", "judge_url", "judge_model", "judge_samples"}
        )


class GuardConfig(Section):
    """A metric that must not get worse, on all rows of a split or on a slice of them."""

    metric: MetricReference = Field(title="Metric")
    """What must not get worse against any opponent; also one of `evaluation.custom_metrics`."""
    split: str = Field(default="test", min_length=1, title="Split")
    """The evaluation set that it is measured on."""
    slice: str | dict[str, FieldValue] = Field(default={}, title="Slice")
    """Only rows whose fields have these values, such as `{kind: explain}`; the name of a field
    means a guard for each value that it has. By default all rows."""
    max_regression: Annotated[float, Field(ge=0)] | None = Field(
        default=None, title="Largest regression"
    )
    """In the metric's own unit; by default `gate.max_regression`."""


class GateConfig(Section):
    """The rule by which a candidate is better; see docs/decision.md."""

    primary_metrics: tuple[MetricReference, ...] | None = Field(
        default=None, title="Primary metrics"
    )
    """The metrics that decide on `test`, those of `evaluation.custom_metrics` too; by default
    chosen from the data before training."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = Field(default=0.025, title="Alpha")
    """One-sided error rate, spent over the looks at one test set."""
    min_improvement: Annotated[float, Field(ge=0)] = Field(default=0.0, title="Least improvement")
    """The lower bound of each primary metric's improvement must be above this."""
    max_regression: Annotated[float, Field(ge=0)] = Field(default=0.05, title="Largest regression")
    """The lower bound of each guard's improvement must be above minus this, in the metric's own
    unit."""
    guards: tuple[GuardConfig, ...] = Field(default=(), title="Guards")
    """More metrics that must not get worse, each with `metric` and, where wanted, `split`, `slice`
    (`{kind: explain}`, or a field's name for each of its values) and `max_regression`. The primary
    metrics are guarded on `adversarial` anyway."""
    champion: Literal["better", "not_worse"] = Field(default="better", title="Against the champion")
    """`better`: the primary rule holds against the champion too; `not_worse`: the guard's rule."""
    num_resamples: Annotated[int, Field(ge=1000)] = Field(default=10_000, title="Resamples")
    """Bootstrap resamples over the split's groups."""
    seed: int = Field(default=0, ge=0, title="Seed")
    """Seed of the resampling."""


class PublishConfig(Section):
    """Where a proven model goes."""

    name: str = Field(default="flowroll-tiny", pattern=NAME_PATTERN, title="Model name")
    """Name in the registry and below `artifacts/models/`."""
    num_probes: PositiveInt = Field(default=20, title="Probes")
    """Prompts answered by the freshly loaded artefact and compared with the evaluated answers."""
    max_logit_difference: Annotated[float, Field(gt=0)] = Field(default=1e-3, title="Tolerance")
    """Largest difference of logits between the evaluated and the freshly loaded model."""
    merge: bool = Field(default=False, title="Merge the adapter")
    """Merge the adapter into its base, `qlora` into the dequantised one, before it is evaluated:
    the merged model is what is evaluated, decided upon and published. False: the adapter is, and
    with `qlora` on the 4-bit base alone."""
    max_nll_difference: Annotated[float, Field(gt=0)] = Field(
        default=0.01, title="Tolerance of the merge"
    )
    """A merge that moves the NLL per token by more is refused."""
    targets: tuple[TargetName, ...] = Field(default=("local",), title="Targets")
    """Where a version goes before it becomes champion. `local`, its folder and the MLflow registry,
    is always one; `hub` is the Hugging Face Hub (HF_TOKEN), `package` one `.tar.gz` in
    `artifacts/packages/`."""
    hub_repo: str | None = Field(default=None, title="Repository on the hub")
    """`OWNER/NAME`, made when it is missing; by default HF_REPO_ID."""
    hub_private: bool = Field(default=True, title="Private on the hub")
    """Whether only its owners may see the repository."""
    approval: Literal["none", "required"] = Field(default="none", title="Approval")
    """`required`: a candidate that is better waits, and the run ends with exit code 2, until
    `hone publish RUN --approve REASON` or the `publish` deployment's form goes on with it."""
    approval_days: Annotated[float, Field(gt=0)] = Field(default=7.0, title="Days to approve")
    """What nobody has approved after so many days is declined."""


def read_trackers(value: Any) -> Any:
    """Return trackers as a list, where transformers' spelling is a single word too.

    >>> read_trackers("wandb"), read_trackers("none"), read_trackers(["mlflow"])
    (['wandb'], [], ['mlflow'])
    """
    if value in ("none", ["none"], None):
        return []
    return [value] if isinstance(value, str) else value


class TrackingConfig(Section):
    """Where runs are recorded, and what they are taken to cost."""

    project: str = Field(default="hone", min_length=1, title="Project")
    """The MLflow experiment, and W&B's project."""
    run_name: str | None = Field(default=None, title="Run name")
    """The run's name in MLflow and W&B; by default the run folder's."""
    report_to: Annotated[tuple[TrackerName, ...], BeforeValidator(read_trackers)] = Field(
        default=("mlflow", "tensorboard"), title="Live metrics"
    )
    """Where metrics and sample answers go while it trains; `none`: nowhere. Whatever it says, runs
    that end and published models are recorded in MLflow. `wandb` needs the extra `wandb` and
    WANDB_API_KEY, or WANDB_MODE=offline."""
    device_hour_price: Annotated[float, Field(gt=0)] | None = Field(
        default=None, title="Price of a device's hour"
    )
    """What an hour of one device costs, in your currency; `hone plan` then prices the training, and
    the model card says what it cost."""
    measure_energy: bool = Field(default=False, title="Measure energy")
    """Measure the energy of the training (kWh), for the model card; needs the extra `energy`
    (codecarbon, used without network). Where the hardware does not count it, it is estimated."""
    assumed_mfu: Annotated[float, Field(gt=0, le=1)] = Field(default=0.4, title="Assumed MFU")
    """Share of the device's peak that `hone plan` expects a training to reach; an earlier run's
    `mfu` in MLflow is the best guess."""


def check_sharded(model: ModelConfig) -> None:
    """Refuse adapters that change the base itself, whose layers are spread over devices."""
    wrong = {
        f"model.method: {model.method}": model.method != "lora",
        "model.use_dora: true": model.use_dora,
        f"model.lora_bias: {model.lora_bias}": model.lora_bias != "none",
        "model.lora_modules_to_save": bool(model.lora_modules_to_save),
    }
    if found := [key for key, is_wrong in wrong.items() if is_wrong]:
        raise ValueError(
            f"training.fsdp: true with {', '.join(found)}; allowed: model.method: lora, which "
            "leaves the base as it is"
        )


class RunConfig(Section):
    """One run of the pipeline, from raw data to a published model."""

    purpose: str = Field(default="", title="Purpose")
    """What this preset is for, in a line."""
    data: DataConfig = Field(default=DataConfig(), title="Data")
    """The rows."""
    model: ModelConfig = Field(default=ModelConfig(), title="Model")
    """The base model and the adapter."""
    training: TrainingConfig = Field(default=TrainingConfig(), title="Training")
    """The optimisation."""
    evaluation: EvaluationConfig = Field(default=EvaluationConfig(), title="Evaluation")
    """The scores."""
    gate: GateConfig = Field(default=GateConfig(), title="Gate")
    """The decision."""
    publish: PublishConfig = Field(default=PublishConfig(), title="Publish")
    """The publication."""
    tracking: TrackingConfig = Field(default=TrackingConfig(), title="Tracking")
    """The record."""

    @model_validator(mode="after")
    def check_together(self) -> RunConfig:
        """Refuse values that are right alone and wrong together."""
        if self.data.validation_fraction + self.data.test_fraction >= 1:
            raise ValueError(
                "data.validation_fraction + data.test_fraction must leave training rows: "
                f"found {self.data.validation_fraction} + {self.data.test_fraction}, allowed < 1"
            )
        if 0 < self.data.max_chars < self.data.min_chars:
            raise ValueError(
                f"data.min_chars must not be above data.max_chars: found {self.data.min_chars} and "
                f"{self.data.max_chars}"
            )
        if self.training.fsdp:
            check_sharded(self.model)
        if self.training.init_adapter and self.model.method == "full":
            raise ValueError(
                "training.init_adapter has no meaning with model.method: full; allowed: lora, qlora"
            )
        is_kto = self.training.objective == "kto"
        if is_kto != (self.data.undesired == "keep"):
            raise ValueError(
                f"data.undesired: {self.data.undesired} does not go with training.objective: "
                f"{self.training.objective}; allowed: keep with kto, which learns from undesired "
                "answers too, and filter with all others"
            )
        guarded = [guard.metric for guard in self.gate.guards]
        for key, names in (("primary_metrics", self.gate.primary_metrics), ("guards", guarded)):
            check_deciding(f"gate.{key}", names or (), self.evaluation.metric_names)
        return self
