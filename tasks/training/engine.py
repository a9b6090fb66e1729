"""transformers' Trainer as the loop, around our rows, loss, validation and checkpoints."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, Trainer, TrainingArguments

from configs.errors import RunError
from tasks.records.writing import write_jsonl
from tasks.training.checkpoints import (
    link_checkpoints,
    name_checkpoint,
    prune_checkpoints,
    seal_checkpoint,
)
from tasks.training.collator import PackedRow
from tasks.training.guards import FiniteGuard
from tasks.training.loss import compute_token_losses
from tasks.training.metering import Meter
from tasks.training.plan import Row, TrainingPlan
from tasks.training.tokens import TokenSplit


@dataclass(frozen=True)
class TrainingSet(Dataset):  # type: ignore[misc]
    """The planned micro-batches of a whole training, in order, made when they are asked for."""

    split: TokenSplit
    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> PackedRow:
        return self.split.read_row(self.rows[index])


@dataclass(frozen=True)
class Weights:
    """How the trained weights are written to a folder and read from it."""

    write: Callable[[Path], None]
    read: Callable[[Path], None]


class PackedTrainer(Trainer):  # type: ignore[misc]
    """Trains on planned rows, with one loss for all trained tokens of an optimiser step.

    Args:
        model: The model, ready to train.
        args: Built by `build_arguments`.
        plan: The micro-batches and steps.
        split: The training examples.
        validation: The validation examples and their rows, or None.
        weights: How checkpoints keep the weights.
        tokenizer: Folder of the tokenizer's files; checkpoints hold a copy.
        training_digest: Digest of what determines the training.
        autocast_dtype: Precision of the matrix products, or None for that of the weights.
        save_total_limit: Newest checkpoints kept, besides the best ones that they refer to.
        callbacks: transformers' callbacks.
    """

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        *,
        plan: TrainingPlan,
        split: TokenSplit,
        validation: TrainingSet | None,
        weights: Weights,
        tokenizer: Path,
        training_digest: str,
        autocast_dtype: torch.dtype | None,
        save_total_limit: int,
        callbacks: list[Any],
    ) -> None:
        super().__init__(model, args, eval_dataset=validation, callbacks=callbacks)
        self.remove_callback(PrinterCallback)
        self.plan = plan
        self.split = split
        self.validation = validation
        self.weights = weights
        self.tokenizer = tokenizer
        self.training_digest = training_digest
        self.autocast_dtype = autocast_dtype
        self.save_total_limit = save_total_limit
        self.guard = FiniteGuard(plan, split)
        self.meter = Meter()
        self.validation_seconds = 0.0

    def get_train_dataloader(self) -> Any:
        """Return the planned rows, one a micro-batch, in order."""
        rows = TrainingSet(self.split, self.plan.rows)
        return DataLoader(rows, batch_size=1, shuffle=False, collate_fn=_take_first)

    def floating_point_ops(self, inputs: Any) -> int:  # noqa: ARG002 - transformers' signature
        """Return 0: transformers would count the model's parameters at each micro-batch."""
        return 0

    def _get_num_items_in_batch(self, batch_samples: list[PackedRow], *_: Any) -> int:
        """Return the trained tokens of an optimiser step, over all its micro-batches."""
        return sum(len(row.targets) for row in batch_samples)

    def training_step(
        self, model: Any, inputs: PackedRow, num_items_in_batch: int | None = None
    ) -> torch.Tensor:
        """Add the gradient of one row; the losses of a step's rows add up to its mean loss."""
        assert num_items_in_batch, "a step without trained tokens"
        self.meter.add(sum(inputs.num_trained) and inputs.input_ids.numel())
        if not len(inputs.targets):  # fills up the step; it has no loss and no gradient
            return torch.zeros((), device=self.args.device)
        if not model.training:
            model.train()
        with self.autocast():
            losses_K = compute_token_losses(model, inputs.move_to(self.args.device))
            loss = losses_K.sum() / num_items_in_batch
        self.accelerator.backward(loss)
        self.guard.add(self.state.global_step + 1, "loss", loss)
        return loss.detach()

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        step = self.state.global_step
        if self.accelerator.scaler is None:
            self.guard.add(step + 1, "gradient norm", norm)
        else:  # a scaled loss overflows at times, by design, and its step is skipped
            self.guard.count_skipped(step, is_skipped=self.accelerator.optimizer_step_was_skipped)
        return norm

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Return the validation loss: all token losses of the split, summed, by their number.

        Raises:
            RunError: It is not finite.
        """
        assert self.validation is not None
        begin = time.perf_counter()
        self.model.eval()
        with torch.no_grad(), self.autocast():
            rows = (self.validation[i] for i in range(len(self.validation)))
            losses = [compute_token_losses(self.model, r.move_to(self.args.device)) for r in rows]
        # Read once, not at each row; added up on the processor, because MPS has no float64.
        loss = torch.cat(losses).cpu().double().mean().item()
        if not math.isfinite(loss):  # it would be nobody's best, and the last step be taken
            raise RunError(
                where=f"step {self.state.global_step}",
                message=f"the validation loss is {loss}",
                hint="lower training.learning_rate",
            )
        metrics = {"eval_loss": loss, "eval_perplexity": compute_perplexity(loss)}
        self.log(dict(metrics))
        with self.autocast():  # a callback that generates computes like the validation
            self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.validation_seconds += time.perf_counter() - begin
        self.meter.pause()
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:  # noqa: ARG002
        """Record metrics; everything in the history is the same in every repetition.

        Raises:
            RunError: A loss or gradient norm since the last time is not finite.
        """
        if "train_runtime" in logs:  # transformers' summary of its own time
            return
        self.guard.check()
        logs["epoch"] = self.plan.find_epoch(self.state.global_step)
        self.state.log_history.append({**logs, "step": self.state.global_step})
        measured = {"tokens_per_second": self.meter.read()} if "loss" in logs else {}
        self.callback_handler.on_log(self.args, self.state, self.control, logs | measured)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint, its digests last, then the links; older ones go only after that."""
        folder = Path(self.args.output_dir)
        step = self.state.global_step
        checkpoint = name_checkpoint(folder, step)
        if checkpoint.exists():  # the remains of an attempt that was interrupted
            shutil.rmtree(checkpoint)
        super()._save_checkpoint(model, trial)
        seal_checkpoint(checkpoint, self.training_digest)
        best_step = self.state.best_global_step or step
        link_checkpoints(folder, step=step, best_step=best_step)
        prune_checkpoints(folder, step=step, best_step=best_step, limit=self.save_total_limit)
        write_jsonl(folder.parent / "history.jsonl", self.state.log_history)
        self.meter.pause()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ARG002
        assert output_dir is not None
        # A checkpoint can be loaded like a finished model, and by every Hugging Face tool.
        shutil.copytree(self.tokenizer, output_dir, dirs_exist_ok=True)
        self.weights.write(Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ARG002
        self.weights.read(Path(resume_from_checkpoint))

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which the model computes."""
        if self.autocast_dtype is None:
            return nullcontext()
        device = self.args.device.type
        context: AbstractContextManager[Any] = torch.autocast(device, dtype=self.autocast_dtype)
        return context


def compute_perplexity(loss: float) -> float:
    """Return e to the power of the mean token loss in nats; infinite where that overflows."""
    return math.exp(loss) if loss < 700 else math.inf


def _take_first(batch: list[PackedRow]) -> PackedRow:
    return batch[0]
