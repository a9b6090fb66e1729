"""The pilot of a run: a short training, scored where choosing may look, and a forecast."""

from __future__ import annotations

from configs.schema import RunConfig
from tasks.evaluate import evaluate
from tasks.pilot import choose_split, forecast
from tasks.records.handles import DataVersion, FormattedData
from tasks.records.results import StageResults
from tasks.records.runs import RunFolder
from tasks.resolve import refer_to_base
from tasks.train import check_training, train


def make_pilot(
    config: RunConfig,
    shortened: RunConfig,
    run: RunFolder,
    data: DataVersion,
    formatted: FormattedData,
    results: StageResults,
) -> None:
    """Train a few steps, measure before and after, and forecast the whole run.

    Args:
        config: The whole run.
        shortened: Its pilot, from `shorten_run`.
        run: The pilot's folder.
        data: The data version.
        formatted: The formatted data.
        results: Gets what each stage returns.
    """
    splits = [choose_split(formatted)]
    check_training(data, formatted, shortened)
    base = refer_to_base(data.base, config.model.dtype)
    results.note("evaluate-baseline", evaluate("baseline", base, formatted, config, splits))
    trained = results.note("train", train(data, formatted, shortened, run))
    finetuned = evaluate("finetuned", trained.reference, formatted, config, splits)
    results.note("evaluate-finetuned", finetuned)
    results.note("forecast", forecast(config, shortened, data, formatted, results))
