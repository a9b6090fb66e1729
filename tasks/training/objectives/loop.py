"""Our loop around a loss of TRL: planned batches, exact validation, our records and checkpoints."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from configs.errors import RunError
from tasks.training.engine import PackedTrainer
from tasks.training.flops import Work
from tasks.training.objectives.batches import Batch, BatchSet
from tasks.training.objectives.means import MetricMeans


class PreferenceLoop(PackedTrainer):
    """Trains on planned batches of judged answers; the loss is that of the TRL trainer behind it.

    It stands before a trainer of TRL among the bases of a class (see `trainers.py`), whose data
    handling, logs and validation it replaces.

    Args:
        batches: The planned micro-batches.
        trl_arguments: What the trainer of TRL takes besides.
        given: What `PackedTrainer` takes; its validation set are batches here.
    """

    def __init__(self, *, batches: BatchSet, trl_arguments: dict[str, Any], **given: Any) -> None:
        self.trl_arguments = trl_arguments
        self.validation: Any  # batches as well
        super().__init__(**given)
        self.batches = batches
        self.means = MetricMeans()

    def get_train_dataloader(self) -> Any:
        """Return the planned micro-batches, in order."""
        return DataLoader(
            self.batches,
            batch_size=1,
            shuffle=False,
            collate_fn=_take_first,
            num_workers=self.args.dataloader_num_workers,
        )

    def _get_num_items_in_batch(self, batch_samples: list[Any], *_: Any) -> int:
        """Return the examples of an optimiser step, over all its micro-batches."""
        return sum(batch.num_examples for batch in batch_samples)

    def training_step(
        self, model: Any, inputs: Any, num_items_in_batch: int | None = None
    ) -> torch.Tensor:
        """Add the gradient of a batch; the losses of a step's batches add up to its mean loss."""
        assert num_items_in_batch, "a step without examples"
        self.meter.add(Work(inputs.num_tokens, 0, 0), inputs.padded_tokens)
        if not inputs.num_examples:  # fills up the step; it has no loss and no gradient
            return torch.zeros((), device=self.args.device)
        if not model.training:
            model.train()
        with self.autocast():
            loss = self._score(model, inputs) * (inputs.num_examples / num_items_in_batch)
        self.accelerator.backward(loss)
        self.guard.add(self.state.global_step + 1, "loss", loss)
        self.window.add(self.state.global_step + 1, loss)
        return loss.detach()

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Return the mean loss of the validation examples, and the means of what TRL measures.

        Raises:
            RunError: The loss is not finite.
        """
        assert self.validation is not None
        begin = time.perf_counter()
        training = self.means  # of the steps so far; they are logged by themselves
        self.means = MetricMeans()
        self.model.eval()
        with torch.no_grad(), self.autocast():
            batches = [self.validation[i] for i in range(len(self.validation))]
            losses = [self._score(self.model, batch) * batch.num_examples for batch in batches]
        loss = torch.stack(losses).sum().item() / sum(batch.num_examples for batch in batches)
        if not math.isfinite(loss):
            raise RunError(
                where=f"step {self.state.global_step}",
                message=f"the validation loss is {loss}",
                hint="lower training.learning_rate",
            )
        metrics = {"eval_loss": loss, **self.means.take("eval_")}
        if "eval_rewards/accuracies" in metrics:
            metrics["eval_accuracy"] = metrics["eval_rewards/accuracies"]
        self.means = training
        self.log(dict(metrics))
        with self.autocast():
            self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.validation_seconds += time.perf_counter() - begin
        self.meter.pause()
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Record metrics, those of TRL among them.

        Raises:
            RunError: A loss or gradient norm since the last time is not finite.
        """
        if "loss" in logs:
            logs |= self.means.take()
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        assert output_dir is not None
        self.means.write(Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.means.restore(Path(resume_from_checkpoint))

    def _score(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return TRL's loss of a batch, and keep what it measured."""
        device = self.args.device
        tensors = {name: tensor.to(device) for name, tensor in batch.tensors.items()}
        loss: torch.Tensor = self.compute_loss(model, tensors)
        self.means.add(self.take_measured(), batch)
        return loss

    def take_measured(self) -> dict[str, float]:
        """Return what TRL measured since the last time; the subclasses know where it lies."""
        raise NotImplementedError

    # TRL's own ways of doing what the pipeline does: nothing is sent anywhere, and the model card
    # is written where a model is published.

    def _send_telemetry(self) -> None:
        """Send nothing."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write nothing."""


def _take_first(batch: list[Batch]) -> Batch:
    return batch[0]
