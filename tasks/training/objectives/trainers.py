"""The trainers of TRL in our loop; TRL gives the losses, the loop everything around them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from datasets import Dataset
from transformers import Trainer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from tasks.formatting.rendering.renderer import IGNORE_INDEX
from tasks.training.objectives.loop import PreferenceLoop

with warnings.catch_warnings():
    # ORPO stands among TRL's experiments; constraints.txt pins the version that it is tested with.
    warnings.simplefilter("ignore")
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer


class NoReference(torch.nn.Module):  # type: ignore[misc]
    """Stands in for a reference model while a trainer of TRL is built.

    Without one, TRL would copy the new adapter, to use the copy as the reference; the base with its
    adapter turned off is the same, costs nothing, and works with every kind of adapter.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def forward(self) -> None:
        """Never called."""
        raise NotImplementedError


class TrlBridge(Trainer):  # type: ignore[misc]
    """Hands to a trainer of TRL what our loop has no use for; stands between the two."""

    def __init__(self, **given: Any) -> None:
        sample = Dataset.from_dict({"id": ["0"]})  # TRL looks at its first row; the loop has others
        given["eval_dataset"] = sample if given["eval_dataset"] is not None else None
        super().__init__(train_dataset=sample, **self.trl_arguments, **given)
        # It would be written with each checkpoint, and its end tokens into the model's config.
        self.processing_class = None
        if isinstance(getattr(self, "ref_model", None), NoReference):
            self.ref_model = None  # TRL then turns the adapter off

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset  # the rows have been tokenised by our renderer


class DpoLoop(PreferenceLoop, TrlBridge, DPOTrainer):  # type: ignore[misc]
    """Direct preference optimisation."""

    def take_measured(self) -> dict[str, float]:
        """Return what was measured since the last time."""
        return _take_last(self._metrics)


class KtoLoop(PreferenceLoop, TrlBridge, KTOTrainer):  # type: ignore[misc]
    """Kahneman-Tversky optimisation: desired and undesired answers."""

    def take_measured(self) -> dict[str, float]:
        """Return what was measured since the last time."""
        return _take_last(self._metrics)


class OrpoLoop(PreferenceLoop, TrlBridge, ORPOTrainer):  # type: ignore[misc]
    """Odds-ratio preference optimisation: likelihood and preference in one, without a reference."""

    def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:  # noqa: ARG002
        """Return nothing: the rows have been tokenised by our renderer."""
        return {}

    def concatenated_forward(self, model: Any, batch: dict[str, Any]) -> tuple[Any, ...]:
        """Take the likelihood of the chosen answers alone; TRL would train on the prompts too."""
        chosen, rejected, *logits = (found := super().concatenated_forward(model, batch))[:4]
        lengths = (batch["chosen_labels"][:, 1:] != IGNORE_INDEX).sum(dim=1)
        nll = -(chosen.float() * lengths).sum() / lengths.sum()
        return chosen, rejected, *logits, nll, *found[5:]

    def take_measured(self) -> dict[str, float]:
        """Return what was measured since the last time."""
        return _take_last(self._stored_metrics)


TRAINERS: dict[str, tuple[Any, Any]] = {
    "dpo": (DpoLoop, DPOConfig),
    "orpo": (OrpoLoop, ORPOConfig),
    "kto": (KtoLoop, KTOConfig),
}
"""The trainer of each objective, and its arguments."""


def _take_last(measured: Mapping[str, Any]) -> dict[str, float]:
    """Return the newest value of each metric, of training or validation, and forget them all."""
    last = {n: values[-1] for mode in measured.values() for n, values in mode.items() if values}
    for mode in measured.values():
        mode.clear()
    return last
