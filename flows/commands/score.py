"""`hone evaluate`: score any model on any data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.errors import RequestError
from configs.load import load_config
from flows.logs import choose_logging, show_logs
from flows.terminal import print_json, print_table, print_text
from tasks.records.runs import check_home
from tasks.records.writing import open_atomic


def score_model(
    model: str,
    *,
    preset: str | None,
    data: Path | None,
    num_samples: int | None,
    output: Path | None,
    overrides: Sequence[str],
    as_json: bool,
) -> int:
    """Score a model on the evaluation sets of a preset, or on a file, and print the metrics.

    Raises:
        RequestError: Neither data nor preset names something to score, or one of them is wrong,
            or the output cannot be written.
    """
    if output:
        _check_output(output)
    choose_logging()
    from tasks.score import score

    show_logs()
    check_home()
    if data is None and preset is None:
        raise RequestError(
            message="nothing to score the model on",
            where="hone evaluate",
            allowed="--data FILE, --preset PRESET, or both",
        )
    if num_samples:
        overrides = [*overrides, f"evaluation.num_samples={num_samples}"]
    config = load_config(preset, overrides)
    result = score(model, config, data.resolve() if data else None)
    if output:
        _write_answers(result.evaluation.folder / "predictions", output)
    if as_json:
        print_json({"model": model, "metrics": result.metrics, "slices": result.slices,
                    "rows": result.rows.model_dump(),
                    "output": output and str(output)})  # fmt: skip
        return 0
    _show(result.metrics)
    for name, slices in result.slices.items():
        for field, values in slices.items():
            print_text(f"\n{name} by {field}")
            _show(values)
    if output:
        print_text(f"answers  {output}")
    return 0


def _check_output(output: Path) -> None:
    """Refuse, before anything is computed, a file that cannot be written afterwards."""
    if output.is_dir():
        problem = f"{output} is a folder"
    elif not output.parent.exists():
        problem = f"no folder {output.parent}"
    elif not output.parent.is_dir():
        problem = f"{output.parent} is not a folder"
    elif not os.access(output.parent, os.W_OK | os.X_OK):
        problem = f"{output.parent} cannot be written"
    else:
        return
    raise RequestError(message=problem, where="--output", allowed="a file in an existing folder")


def _write_answers(predictions: Path, output: Path) -> None:
    """Join the answers of all sets into one file, atomically."""
    with open_atomic(output, "wb") as joined:
        for file in sorted(predictions.glob("*.jsonl")):
            with file.open("rb") as part:
                shutil.copyfileobj(part, joined)


def _show(metrics: Mapping[str, Mapping[str, Any]]) -> None:
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    rows = [
        [name, *(f"{values[name]:.4g}" if name in values else "" for values in metrics.values())]
        for name in names
    ]
    print_table(["metric", *metrics], rows)
    from tasks.evaluation.bands import describe_perplexity

    for name, values in metrics.items():
        if "perplexity" in values and "rows" not in values:
            print_text(f"perplexity on {name}: {describe_perplexity(values['perplexity'])}")
