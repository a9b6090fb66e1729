"""What one training works on: its data, plan, model and device, and the digest of all of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import RequestError
from configs.schema import ModelConfig, TrainingConfig
from tasks.formatting.rendering.renderer import Renderer, load_renderer
from tasks.records.digests import digest_value
from tasks.records.handles import Kind
from tasks.records.observer import Observer
from tasks.training.adapters import (
    attach_adapter,
    detach_adapter,
    digest_start,
    start_adapter,
)
from tasks.training.checkpoints import Checkpoint
from tasks.training.devices import Device
from tasks.training.models import count_parameters, load_base
from tasks.training.plan import TrainingPlan, plan_training
from tasks.training.shared_base import borrow_base
from tasks.training.stopping import ShouldStop
from tasks.training.tokens import TokenSplit, check_split, open_split

LOG = logging.getLogger("hone")


@dataclass(frozen=True)
class TrainingJob:
    """Everything that a training works on, in memory.

    Attributes:
        formatted: The folder that formatting wrote.
        out: The folder of the result.
        base_location: The base model's folder, or its hub id.
        base_revision: Its pinned revision.
        config: Method and adapter.
        training: The optimisation.
        device: Where it runs.
        dtype: Precision of the base weights.
        train: The training examples.
        validation: The validation examples, or None.
        plan: Every micro-batch and step.
        observer: Gets progress, metrics and sample generations.
        teacher_location: The folder of the model to distil, or its hub id; None for none.
        teacher_revision: Its pinned revision.
        init_adapter: The folder of the adapter to start from; None for a new one.
        should_stop: Asked after each validation whether to train on; None: to the end.
    """

    formatted: Path
    out: Path
    base_location: Path | str
    base_revision: str | None
    config: ModelConfig
    training: TrainingConfig
    device: Device
    dtype: str
    train: TokenSplit
    validation: TokenSplit | None
    plan: TrainingPlan
    observer: Observer
    teacher_location: Path | str | None = None
    teacher_revision: str | None = None
    init_adapter: Path | None = None
    should_stop: ShouldStop | None = None

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.out / "checkpoints"

    def is_done(self, start: Checkpoint | None) -> bool:
        """Tell whether the newest checkpoint is the last: all steps done, or stopped early."""
        if start is None:
            return False
        patience = self.training.early_stopping_patience
        is_stopped = patience is not None and start.num_bad_validations >= patience
        return start.step >= self.plan.num_steps or is_stopped

    @property
    def computes_in_16_bits(self) -> bool:
        """Whether matrix products run in 16 bits under autocast."""
        return self.dtype != "float32"

    @property
    def digest(self) -> str:
        """Digest of what determines the training; checkpoints of another are of no use."""
        # The pinned revision says which model, the tokens which template.
        places = {"model_name_or_path", "model_revision", "chat_template"}
        return digest_value(
            {
                "base": self.base_revision or str(self.base_location),
                "device": self.device.kind,
                "dtype": self.dtype,
                "init_adapter": digest_start(self.init_adapter),
                "teacher": self.teacher_revision or str(self.teacher_location),
                "model": self.config.model_dump(mode="json", exclude=places),
                "train": self.train.digest,
                "training": self.training.describes_result,
                "validation": self.validation.digest if self.validation else None,
            }
        )


def open_splits(
    formatted: Path, training: TrainingConfig
) -> tuple[TokenSplit, TokenSplit | None, TrainingPlan]:
    """Open and check the tokenised splits, and plan the training on them.

    Raises:
        RequestError: There is nothing to train on, or an example cannot be trained on.
    """
    train = open_split(formatted, "train")
    validation = None if training.eval_strategy == "no" else open_split(formatted, "validation")
    if train is None:
        raise RequestError(where=str(formatted), message="there are no training examples")
    for split in filter(None, (train, validation)):
        check_split(split, training.max_length)
    return train, validation, plan_training(train.lengths, training)


def load_formatted_renderer(formatted: Path) -> Renderer:
    """Load what rendered the examples of a formatted folder."""
    with (formatted / "examples" / "train.jsonl").open(encoding="utf-8") as file:
        first = json.loads(file.readline())
    kind: Kind = "messages" if first["messages"] else "text"
    return load_renderer(formatted / "tokenizer", None, kind)


@contextmanager
def open_model(job: TrainingJob) -> Iterator[Any]:
    """Give the base model with a new adapter on it, or with all of its weights to be trained."""
    method = job.config.method
    if job.training.fsdp:
        is_local = isinstance(job.base_location, Path)
        base = load_base(
            job.base_location,
            dtype=job.dtype,
            device=job.device.kind,
            revision=None if is_local else job.base_revision,
            num_shards=job.training.num_gpus,
        )
        yield attach_adapter(base, job.config)
        return
    with borrow_base(
        job.base_location,
        # Updates of less than 1/256 of a weight vanish in bfloat16: what is trained is float32.
        dtype="float32" if method == "full" else job.dtype,
        device=job.device.kind,
        method=method,
        model=job.config,
        revision=job.base_revision,
    ) as base:
        net = base if method == "full" else attach_adapter(base, job.config)
        if job.init_adapter:
            start_adapter(net, job.init_adapter)
        total, trainable = count_parameters(net)
        share = 100 * trainable / total
        LOG.info("training %d of %d parameters (%.2f %%) by %s", trainable, total, share, method)
        yield net
        if method != "full":
            detach_adapter(net)
