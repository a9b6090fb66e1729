"""The handles that pass between the stages: small frozen records, never data."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.records.home import resolve_in_home

Verdict = Literal["better", "not_better", "inconclusive"]
Arm = Literal["baseline", "finetuned", "champion"]
Kind = Literal["messages", "text"]


class Record(BaseModel):
    """A frozen value with named fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Handle(Record):
    """A reference to a complete stage result below HONE_HOME."""

    path: str
    """The folder of the result, relative to HONE_HOME."""
    digest: str
    """SHA-256 of the result's content."""
    reused: bool = Field(default=False, exclude=True)
    """Whether the result was answered from the cache; not part of what is stored."""

    @property
    def folder(self) -> Path:
        """The folder of the result on this machine."""
        return resolve_in_home(self.path)


class RowCounts(Record):
    """How the input rows ended: read = kept + invalid + filtered; a kept one may be cut."""

    read: int = 0
    kept: int = 0
    invalid: int = 0
    filtered: int = 0
    cut: int = 0


class PinnedModel(Record):
    """A base model, pinned to a content digest (local) or a commit hash (hub)."""

    name: str
    """The id or path as configured."""
    revision: str
    """The hub's commit hash, or the first 40 digits of the content digest of a local model."""
    location: str
    """Where its files lie: relative to the clone when inside it, else absolute."""


class ModelReference(Record):
    """Which weights: a bare base model, or a trained model's folder on its base."""

    digest: str
    """SHA-256 of the trained model's folder, or the base's revision."""
    path: str | None
    """The folder in Hugging Face's shape, relative to HONE_HOME; None for the bare base."""
    base: PinnedModel
    method: Literal["base", "lora", "qlora", "full"]
    dtype: str


class DataVersion(Handle):
    """The exact bytes that a run reads, and the base model it starts from."""

    source: str
    """The URI or path that was asked for."""
    commit: str
    """The lakeFS commit id, or the tree digest of a local source."""
    num_files: int
    num_bytes: int
    base: PinnedModel
    passed_over: tuple[str, ...] = ()
    """Files of the source that are neither training data nor an evaluation set."""


class SplitRecord(Record):
    """One split of the formatted data."""

    rows: int
    groups: int
    tokens: int
    trained_tokens: int
    digest: str
    """SHA-256 of the split's examples: ids, groups and messages."""


class FormattedData(Handle):
    """Rendered, masked and tokenised splits with their row ledger."""

    kind: Kind
    rows: RowCounts
    splits: dict[str, SplitRecord]
    template_digest: str
    """SHA-256 of the chat template and tokenizer, re-checked at evaluation and publishing."""
    primary_metrics: tuple[str, ...]
    """The metrics that decide, chosen from the data before training (or as configured)."""


class PreparedData(Handle):
    """The formatted data, committed beside its raw data; path and digest are its own."""

    uri: str
    """`lakefs://REPOSITORY/COMMIT/PATH`."""
    commit: str


class TrainedModel(Handle):
    """A trained adapter or full model with its training record; `digest` is of `model/`."""

    base: PinnedModel
    method: Literal["lora", "qlora", "full"]
    dtype: str
    template_digest: str
    num_parameters: int
    num_trainable_parameters: int
    num_bytes: int
    """Size of the adapter or of the full weights."""
    num_steps: int
    best_step: int
    metrics: dict[str, float]
    """`train_loss`, `eval_loss`, `perplexity`, `tokens_per_second`, `seconds` and their like."""

    @property
    def model_folder(self) -> Path:
        """The folder in Hugging Face's shape."""
        return self.folder / "model"

    @property
    def reference(self) -> ModelReference:
        """This model as something that can be loaded and scored."""
        return ModelReference(
            digest=self.digest,
            path=f"{self.path}/model",
            base=self.base,
            method=self.method,
            dtype=self.dtype,
        )


class Evaluation(Handle):
    """Per-example outputs and scores of one model on the frozen evaluation splits."""

    arm: Arm
    model_digest: str
    template_digest: str
    """Of the tokenizer and template that the model was prompted with."""
    metrics: dict[str, dict[str, float]]
    """By split, then by metric."""


class Check(Record):
    """One comparison of the candidate with an opponent: a metric on a split, with its bounds."""

    opponent: Arm
    split: str
    slice: str = ""
    """The rows of the split that it is about, such as `kind=explain`; empty for all."""
    metric: str
    role: Literal["primary", "guard"]
    rows: int
    groups: int
    candidate: float
    opponent_value: float
    improvement: float
    """Candidate better than opponent by this much, in the metric's unit (sign: more is better)."""
    lower: float | None
    upper: float | None
    """One-sided bounds at the look's alpha; None where one group of rows bounds nothing."""
    threshold: float
    """`min_improvement` for a primary, `-max_regression` for a guard."""
    standard_error: float | None = None
    """Of the improvement, by the bootstrap; None where it bounds nothing."""
    won: int | None = None
    """Rows that the candidate alone has right; None where rows are not simply right or wrong."""
    lost: int | None = None
    """Rows that the opponent alone has right."""
    mcnemar_p: float | None = None
    """Two-sided p-value of McNemar's exact test on these; shown beside, decides nothing."""
    passed: bool
    note: str = ""

    @property
    def place(self) -> str:
        """The split and slice in words."""
        return f"{self.split} where {self.slice}" if self.slice else self.split

    @property
    def is_ruled_out(self) -> bool:
        """Whether even the upper bound is not above the threshold."""
        return self.upper is not None and self.upper <= self.threshold

    @property
    def width(self) -> float | None:
        """How far the bounds lie apart; None where there are none."""
        return None if self.lower is None or self.upper is None else self.upper - self.lower

    def describe_bounds(self, form: str = "+.4g") -> str:
        """Return the bounds in words."""
        if self.lower is None or self.upper is None:
            return "unbounded"
        return f"{self.lower:{form}} to {self.upper:{form}}"


class Decision(Handle):
    """The verdict on a candidate, each check with its figures, bound to the evidence."""

    verdict: Verdict
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    model_name: str
    candidate_digest: str
    champion_version: str | None
    """The registry's champion that was the opponent, or None when there was none."""
    evidence: dict[str, str]
    """Digests of the data, the model, the config and each arm's predictions."""
    look: int
    """Which look at this test set this was for this model name, from 1."""
    alpha: float
    """The share of the gate's alpha that this look may spend."""
    smallest_detectable_gain: dict[str, float]


class WholeRun(Record):
    """What a whole run will take, from what its pilot measured."""

    split: str
    """The set that the pilot was scored on; never `test`."""
    pilot_steps: int
    steps: int
    """Of the whole run; early stopping may end it sooner."""
    tokens: int
    """Of all its steps."""
    tokens_per_second: float | None
    """Measured in the pilot's training; None where its engine does not tell."""
    training_seconds: float | None
    """Loading and validations included."""
    evaluation_seconds: float
    """Of base model and candidate on all evaluation sets."""
    hours: float | None
    """Of training and evaluation."""
    money: float | None
    """At `tracking.device_hour_price`; None without it."""
    memory_bytes: int | None
    """Peak on the device; None where neither a GPU nor config.json tells."""
    memory_source: Literal["measured", "predicted", "unknown"]
    device_memory_bytes: int
    model_bytes: int
    """Size of the weights that are trained."""


class Forecast(Handle):
    """What the run of a pilot will take when it is run as a whole."""

    whole: WholeRun


class Publication(Handle):
    """A published version: a folder below `artifacts/models/` and a registry entry."""

    name: str
    version: str
    uri: str
    decision_digest: str
