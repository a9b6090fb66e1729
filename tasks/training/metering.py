"""Throughput and utilisation: tokens and operations over the time of training steps alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from configs.errors import RequestError
from configs.schema import ModelConfig, TrainingConfig
from tasks.training.devices import Device
from tasks.training.flops import FlopRates, Work, count_rates
from tasks.training.peaks import find_peak_flops, measure_matmul_flops
from tasks.training.shapes import read_shape

if TYPE_CHECKING:
    from tasks.training.collator import PackedRow

NO_WORK = Work(0, 0, 0)
MATMUL_SIZE = 8192  # large enough to be bound by the arithmetic alone


class Meter:
    """Counts tokens and time, read only where metrics are read, so that no step waits for it.

    Args:
        rates: Operations of the training; without them there is no utilisation.
        peak_flops: The datasheet's rate of this process's device, in operations a second; without
            it there is no `mfu`: a made-up peak would make a made-up figure.
        matmul_flops: The rate that a matrix product was measured to reach on it.
    """

    def __init__(
        self,
        rates: FlopRates | None = None,
        peak_flops: float | None = None,
        matmul_flops: float | None = None,
    ) -> None:
        self.work = NO_WORK
        self.padded_tokens = 0
        self.seconds = 0.0
        self._rates = rates
        self._peaks = {"": peak_flops, "_of_matmul": matmul_flops}
        self._since: float | None = None

    @property
    def tokens(self) -> int:
        """Real tokens so far."""
        return self.work.tokens

    def add(self, work: Work, padded_tokens: int) -> None:
        """Count a micro-batch that begins now.

        Args:
            work: Its documents; none in a row that only fills up a step.
            padded_tokens: Tokens that the model sees, with what fills up the row.
        """
        if self._since is None:
            self._since = time.perf_counter()
        self.work += work
        self.padded_tokens += padded_tokens

    def read(self) -> dict[str, float]:
        """Return the rates of all steps so far.

        Returns:
            `tokens_per_second` (real), `padded_tokens_per_second`, and where the peaks are known
            `mfu` and `hfu`, the operations that the training needs and those that the device
            executes, as shares of the datasheet's peak, and both `_of_matmul`.
        """
        if self._since is not None:
            now = time.perf_counter()
            self.seconds += now - self._since
            self._since = now
        seconds = max(self.seconds, 1e-9)
        found = {
            "tokens_per_second": self.tokens / seconds,
            "padded_tokens_per_second": self.padded_tokens / seconds,
        }
        for suffix, peak in self._peaks.items():
            if self._rates and peak:
                found[f"mfu{suffix}"] = self._rates.count_model(self.work) / seconds / peak
                found[f"hfu{suffix}"] = self._rates.count_hardware(self.work) / seconds / peak
        return found

    def pause(self) -> None:
        """Leave out the time from the last `read` to the next micro-batch."""
        self._since = None


def measure_row(row: PackedRow) -> Work:
    """Return the work of a packed row, on the processor; nothing for one that trains nothing."""
    num_trained = sum(row.num_trained)
    if not num_trained:
        return NO_WORK
    lengths = row.cu_seq_lens.diff()
    if row.num_padding:  # the last example only fills the row
        lengths = lengths[:-1]
    return Work(int(lengths.sum()), num_trained, int((lengths.long() ** 2).sum()))


def build_meter(
    model_config: Mapping[str, Any],
    model: ModelConfig,
    training: TrainingConfig,
    device: Device,
    dtype: str,
    *,
    num_checkpointed: int = 0,
) -> Meter:
    """Return a meter that knows what a training computes, and what its GPU could.

    Args:
        model_config: The content of the base model's config.json.
        model: Method, rank and targets.
        training: Which tokens pass through the head.
        device: Where it trains; a processor's peak is not known.
        dtype: Precision of the matrix products.
        num_checkpointed: Blocks that are computed again in the backward pass.
    """
    try:
        shape = read_shape(model_config)
    except RequestError:
        return Meter()  # of a model of unknown sizes, tokens are counted
    rates = count_rates(
        shape,
        model,
        num_checkpointed=num_checkpointed,
        trained_only=training.trained_logits_only,
    )
    if device.kind != "cuda" or (dtype == "float32" and training.tf32):
        return Meter(rates)
    sizes = (MATMUL_SIZE, MATMUL_SIZE, MATMUL_SIZE)
    measured = measure_matmul_flops(sizes, device="cuda", dtype=dtype)
    return Meter(rates, find_peak_flops(device.name, dtype), measured)
