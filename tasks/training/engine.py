"""transformers' Trainer as the loop, around our rows, loss, validation and checkpoints."""

from __future__ import annotations

import functools
import math
import operator
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainingArguments

from configs.errors import RunError
from tasks.records.writing import write_jsonl
from tasks.training.cancellation import Cancellation
from tasks.training.checkpoints import (
    WRITE_ERRORS,
    explain_write_error,
    link_checkpoints,
    name_checkpoint,
    prune_checkpoints,
    seal_checkpoint,
)
from tasks.training.collator import PackedRow
from tasks.training.guards import FiniteGuard
from tasks.training.loss_window import LossWindow
from tasks.training.metering import Meter, measure_row
from tasks.training.plan import TrainingPlan
from tasks.training.ranks import (
    combine_rates,
    count_ranks,
    find_rank,
    is_first,
    share_parameters,
    sum_gradients,
    sum_over_ranks,
    wait_for_all,
)
from tasks.training.scoring import score_rows
from tasks.training.sharding import is_sharded
from tasks.training.tokens import TokenSplit, TrainingSet


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
        loss: Gives the losses of a row's trained tokens.
        pad_to: Tokens that each row is filled up to; 0: rows are as long as they are.
        cancellation: Asks for the last checkpoint, and wants to know how long one takes.
        eval_accumulation_steps: Validation rows whose losses stay on the device; None: all.
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
        loss: Callable[[Any, PackedRow], torch.Tensor],
        pad_to: int,
        cancellation: Cancellation,
        eval_accumulation_steps: int | None,
        save_total_limit: int,
        callbacks: list[Any],
    ) -> None:
        super().__init__(model=model, args=args, eval_dataset=validation, callbacks=callbacks)
        self.remove_callback(PrinterCallback)
        if count_ranks() > 1:
            # DistributedDataParallel would average the gradients, where the losses add up, and
            # hang on an empty row, which has no backward pass; `sum_gradients` does its work.
            self.accelerator.prepare_model = functools.partial(
                self.accelerator.prepare_model, evaluation_mode=True
            )
            share_parameters(p for p in model.parameters() if p.requires_grad)
        self.is_sharded = is_sharded(model)
        self.plan = plan
        self.split = split
        self.validation = validation
        self.weights = weights
        self.tokenizer = tokenizer
        self.training_digest = training_digest
        self.autocast_dtype = autocast_dtype
        self.loss = loss
        self.pad_to = pad_to
        self.cancellation = cancellation
        self.window = LossWindow()
        self.eval_accumulation_steps = eval_accumulation_steps
        self.save_total_limit = save_total_limit
        self.guard = FiniteGuard(plan, split)
        self.meter = Meter()
        self.validation_seconds = 0.0

    def get_train_dataloader(self) -> Any:
        """Return the planned rows of this process, one a micro-batch, in order."""
        rows = self.plan.find_rows(find_rank(), count_ranks())
        return DataLoader(
            TrainingSet(self.split, rows, self.pad_to),
            batch_size=1,
            shuffle=False,
            collate_fn=operator.itemgetter(0),
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def floating_point_ops(self, inputs: Any) -> int:  # noqa: ARG002 - transformers' signature
        """Return 0: transformers would count the model's parameters at each micro-batch."""
        return 0

    def _get_num_items_in_batch(self, batch_samples: list[PackedRow], *_: Any) -> int:
        """Return the trained tokens of an optimiser step, over all processes' micro-batches."""
        return int(sum_over_ranks([sum(len(row.targets) for row in batch_samples)])[0])

    def training_step(
        self, model: Any, inputs: PackedRow, num_items_in_batch: int | None = None
    ) -> torch.Tensor:
        """Add the gradient of one row; the losses of a step's rows add up to its mean loss."""
        assert num_items_in_batch, "a step without trained tokens"
        self.meter.add(measure_row(inputs), inputs.input_ids.numel())
        loss = self._train_row(model, inputs, num_items_in_batch)
        self.window.add(self.state.global_step + 1, loss)
        if self.accelerator.sync_gradients:  # it was the last row of the step
            sum_gradients(model.parameters())
        return loss.detach()

    def _train_row(self, model: Any, inputs: PackedRow, num_items_in_batch: int) -> torch.Tensor:
        # An empty row fills up the step; it has no loss and no gradient. Processes that share the
        # layers of a model compute it all the same: each gives the others its part.
        if not len(inputs.targets) and not self.is_sharded:
            return torch.zeros((), device=self.args.device)
        if not model.training:
            model.train()
        with self.autocast():
            losses_K = self.loss(model, inputs.move_to(self.args.device))
            loss = losses_K.sum() / num_items_in_batch
        self.accelerator.backward(loss)
        self.guard.add(self.state.global_step + 1, "loss", loss)
        return loss

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
            rows = self.validation.list_share(find_rank(), count_ranks())
            device, every = self.args.device, self.eval_accumulation_steps
            scores = score_rows(self.model, rows, device, every=every, after_row=self._announce)
        # Added up on the processor, because MPS has no float64.
        sums = scores.double().sum(dim=1).tolist()
        total_loss, num_hits, num_tokens = sum_over_ranks([*sums, scores.size(1)])
        loss = total_loss / num_tokens
        if not math.isfinite(loss):  # it would be nobody's best, and the last step be taken
            raise RunError(
                where=f"step {self.state.global_step}",
                message=f"the validation loss is {loss}",
                hint="lower training.learning_rate",
            )
        metrics = {"eval_loss": loss, "eval_perplexity": compute_perplexity(loss)}
        metrics["eval_accuracy"] = num_hits / num_tokens
        self.log(dict(metrics))
        with self.autocast():  # a callback that generates computes like the validation
            self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.validation_seconds += time.perf_counter() - begin
        self.meter.pause()
        return metrics

    def _announce(self) -> None:  # a validation that takes long is alive
        self.callback_handler.on_prediction_step(self.args, self.state, self.control)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Have a checkpoint of every new best and of the last step, whatever the cadence."""
        is_new = bool(super()._determine_best_metric(metrics, trial))
        is_last = self.control.should_training_stop  # early stopping has just been asked
        self.control.should_save |= is_new or is_last
        return is_new

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:  # noqa: ARG002
        """Record metrics; everything in the history is the same in every repetition.

        Raises:
            RunError: A loss or gradient norm since the last time is not finite.
        """
        if "train_runtime" in logs:  # transformers' summary of its own time
            return
        self.guard.check()
        if "loss" in logs:
            logs["loss"] = self.window.read_mean()
        logs["epoch"] = self.plan.find_epoch(self.state.global_step)
        self.state.log_history.append({**logs, "step": self.state.global_step})
        measured = combine_rates(self.meter.read()) if "loss" in logs else {}
        self.callback_handler.on_log(self.args, self.state, self.control, logs | measured)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint, its digests last, then the links; older ones go only after that.

        The first process writes; of the others, each its random state and its open losses.

        Raises:
            RunError: It cannot be written; those before it stand.
        """
        begin = time.perf_counter()
        folder = Path(self.args.output_dir)
        step = self.state.global_step
        checkpoint = name_checkpoint(folder, step)
        if is_first() and checkpoint.exists():  # the remains of an interrupted attempt
            shutil.rmtree(checkpoint)
        wait_for_all()
        try:
            super()._save_checkpoint(model, trial)
            self.window.write(checkpoint)
        except WRITE_ERRORS as err:
            raise explain_write_error(checkpoint, err) from err
        wait_for_all()
        if is_first():
            self._finish_checkpoint(checkpoint)
        wait_for_all()
        self.cancellation.save_seconds = time.perf_counter() - begin
        self.meter.pause()

    def _finish_checkpoint(self, checkpoint: Path) -> None:
        folder, step = checkpoint.parent, self.state.global_step
        try:
            seal_checkpoint(checkpoint, self.training_digest)
        except WRITE_ERRORS as err:
            raise explain_write_error(checkpoint, err) from err
        best_step = self.state.best_global_step or step
        link_checkpoints(folder, step=step, best_step=best_step)
        prune_checkpoints(folder, step=step, best_step=best_step, limit=self.save_total_limit)
        write_jsonl(folder.parent / "history.jsonl", self.state.log_history)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ARG002
        assert output_dir is not None
        if not is_first():  # transformers asks every process
            return
        # A checkpoint can be loaded like a finished model, and by every Hugging Face tool.
        shutil.copytree(self.tokenizer, output_dir, dirs_exist_ok=True)
        self.weights.write(Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ARG002
        self.weights.read(Path(resume_from_checkpoint))
        self.window.restore(Path(resume_from_checkpoint))

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
