"""Shorten a run to its pilot, and forecast the whole run from what the pilot measured."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from configs.errors import RequestError
from configs.load import apply_overrides
from configs.schema import RunConfig
from tasks.evaluate import NOT_EVALUATED
from tasks.plan import plan_resources
from tasks.records.digests import digest_code, digest_value
from tasks.records.entries import reuse_or_build
from tasks.records.handles import (
    DataVersion,
    Evaluation,
    Forecast,
    FormattedData,
    TrainedModel,
    WholeRun,
)
from tasks.records.home import find_home
from tasks.records.results import StageResults
from tasks.records.writing import read_json, write_json
from tasks.training.devices import detect_device
from tasks.training.peak_memory import PEAK_MEMORY
from tasks.training.plan import JUDGED_TOKENS, TrainingPlan, plan_training

LOG = logging.getLogger("hone")
MAX_PILOT_STEPS = 100
SETS = ("golden", "dev", "validation")
"""What choosing may look at, the best first; `test` is the gate's alone."""
# A pilot is over before its cadence would begin: it trains to its end, which is its result.
SHORTENED = {
    "training.eval_strategy": "no",
    "training.eval_steps": None,
    "training.save_strategy": "steps",
    "training.save_steps": MAX_PILOT_STEPS,
    "training.early_stopping_patience": None,
}


def choose_split(formatted: FormattedData, sets: Sequence[str] = SETS) -> str:
    """Return the set that a pilot, a comparison or a sweep is scored on.

    Args:
        formatted: The formatted data.
        sets: Names of the sets that may be taken, the best first.

    Raises:
        RequestError: There is none of them.
    """
    for name in sets:
        if name in formatted.splits:
            return name
    raise RequestError(
        message="there is no set to choose by: `test` is left to the gate, which counts its looks",
        where="data.validation_fraction",
        allowed="a share above 0, eval/dev.*, or data.eval_sources.dev",
    )


def shorten_run(config: RunConfig, formatted: FormattedData) -> RunConfig:
    """Return the configuration of a run's pilot: at most 100 steps.

    Its steps are the first of the shuffled plan, so its rows are a sample of all. A run that is no
    longer than that is its own pilot, and finds its training in the cache.
    """
    plan, _ = plan_whole(config, formatted)
    if plan.num_steps <= MAX_PILOT_STEPS:
        return config
    return apply_overrides(config, {"training.max_steps": MAX_PILOT_STEPS, **SHORTENED})


def plan_whole(config: RunConfig, formatted: FormattedData) -> tuple[TrainingPlan, int]:
    """Return the steps of a training, and the tokens in all of them."""
    from tasks.training.tokens import open_split

    split = open_split(formatted.folder, "train")
    assert split is not None, "formatting leaves training rows, or refuses the data"
    plan = plan_training(split.lengths, config.training)
    return plan, sum(split.lengths[index] for row in plan.rows for index in row)


@task(name="forecast", cache_policy=NO_CACHE)
def forecast(
    config: RunConfig,
    shortened: RunConfig,
    data: DataVersion,
    formatted: FormattedData,
    results: StageResults,
) -> Forecast:
    """Say what the whole run will take: time, memory, cost."""
    assert results.trained, "the pilot has not trained"
    key: dict[str, Any] = {
        "config": digest_value(config.model_dump(mode="json")),
        "trained": results.trained.digest,
        "arms": {arm: evaluation.digest for arm, evaluation in sorted(results.arms.items())},
        "device": detect_device().name,
        "code": digest_code("tasks.pilot", "tasks.plan", "tasks.training"),
    }
    found = reuse_or_build(
        "forecast",
        key,
        Forecast,
        lambda entry: _build(config, shortened, data, formatted, results, entry),
    )
    whole = found.whole
    LOG.info(
        "pilot: the whole run takes %s s of training and %.0f s of evaluation",
        "?" if whole.training_seconds is None else f"{whole.training_seconds:.0f}",
        whole.evaluation_seconds,
    )
    return found


def _build(
    config: RunConfig,
    shortened: RunConfig,
    data: DataVersion,
    formatted: FormattedData,
    results: StageResults,
    entry: Path,
) -> Forecast:
    trained = results.trained
    assert trained, "the pilot has not trained"
    whole, tokens = plan_whole(config, formatted)
    _, pilot_tokens = plan_whole(shortened, formatted)
    # Of judged answers both pass through the model: the pilot knows how many tokens that are.
    passed = int(trained.metrics.get(JUDGED_TOKENS, pilot_tokens))
    tokens, pilot_tokens = round(tokens * passed / pilot_tokens), passed
    (split,) = results.arms["finetuned"].metrics
    timings = {arm: Timing(e, formatted, split, config) for arm, e in results.arms.items()}
    evaluation = sum(timing.forecast_evaluation() for timing in timings.values())
    training = forecast_training(trained, tokens=tokens, pilot_tokens=pilot_tokens)
    if training is not None and shortened != config and "validation" in formatted.splits:
        num_validations = whole.num_steps // whole.eval_steps
        training += num_validations * timings["finetuned"].forecast_validation()
    hours = None if training is None else (training + evaluation) / 3600
    price = config.tracking.device_hour_price
    content = {
        "split": split,
        "pilot_steps": trained.num_steps,
        "steps": whole.num_steps,
        "tokens": tokens,
        "tokens_per_second": trained.metrics.get("tokens_per_second"),
        "training_seconds": training,
        "evaluation_seconds": evaluation,
        "hours": hours,
        "money": None if hours is None or price is None else hours * price,
        "model_bytes": trained.num_bytes,
        **forecast_memory(config, data, formatted, trained),
    }
    write_json(entry / "forecast.json", content)
    return Forecast(
        path=entry.relative_to(find_home()).as_posix(),
        digest=digest_value(content),
        whole=WholeRun.model_validate(content),
    )


def forecast_training(trained: TrainedModel, *, tokens: int, pilot_tokens: int) -> float | None:
    """Return the seconds of a whole training: the pilot's start, then all tokens at its pace.

    Args:
        trained: The pilot's result.
        tokens: Of the whole training.
        pilot_tokens: Of the pilot.
    """
    pace = trained.metrics.get("tokens_per_second")
    if not pace:
        return None
    start = max(0.0, trained.metrics["seconds"] - pilot_tokens / pace)
    return start + tokens / pace


def forecast_memory(
    config: RunConfig, data: DataVersion, formatted: FormattedData, trained: TrainedModel
) -> dict[str, Any]:
    """Return the peak: on CUDA what the pilot took, whose rows are as long as those of the run."""
    measured = trained.metrics.get(PEAK_MEMORY)
    planned = plan_resources(config, data, formatted)
    found = int(measured) if measured else planned["memory_bytes"]
    source = "measured" if measured else "predicted" if found else "unknown"
    return {
        "memory_bytes": found,
        "memory_source": source,
        "device_memory_bytes": planned["device_memory_bytes"],
    }


class Timing:
    """How long an arm took for a row of the pilot's set, carried over to other sets.

    Args:
        evaluation: The arm's evaluation.
        formatted: The formatted data.
        split: The set that was scored.
        config: How many rows of a set are scored.
    """

    def __init__(
        self, evaluation: Evaluation, formatted: FormattedData, split: str, config: RunConfig
    ) -> None:
        self._limit = config.evaluation.num_samples
        self._splits = formatted.splits
        measured = read_json(evaluation.folder / "timing.json")
        rows = self._count_rows(split)
        self._nll_seconds: float = measured["nll_seconds"] / rows
        self._seconds: float = self._nll_seconds + measured["generation_seconds"] / rows

    def forecast_evaluation(self) -> float:
        """Return the seconds of all evaluation sets."""
        rows = sum(self._count_rows(name) for name in self._splits if name not in NOT_EVALUATED)
        return self._seconds * rows

    def forecast_validation(self) -> float:
        """Return the seconds of a validation during training, its samples left out."""
        return self._nll_seconds * self._splits["validation"].rows

    def _count_rows(self, split: str) -> int:
        rows = self._splits[split].rows
        return min(rows, self._limit) if self._limit else rows
