"""Training and generation of the Llama-3-8B shape on one GPU, in one call of under 8 minutes.

Run: python -m benchmarks.gpu [--json] [--only ARM ...] [--seconds N] [--small]
Nothing is downloaded: weights and tokens are random, made on the device. Checks of the losses come
first; each arm has its own time, and what is done by the end of all of it is printed. `--small`
runs the same code with a tiny shape on a processor; its figures say nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import disable_progress_bars
from transformers.utils import logging as transformers_logging

from benchmarks.gpu_arms import list_arms, run_arm
from benchmarks.gpu_bench import Bench
from benchmarks.gpu_checks import check_losses
from benchmarks.gpu_setting import Setting, choose_setting, draw_documents, write_documents
from tasks.training.peaks import find_peak_flops, measure_matmul_flops

SECONDS = 450.0
LEAST_ARM_SECONDS = 20.0
MATMUL_SIZE = 8192


class TimeIsOverError(BaseException):
    """The time of the whole benchmark is over, wherever it is: nobody's `except Exception`."""


@contextlib.contextmanager
def limit_seconds(seconds: float) -> Iterator[None]:
    """End the block by TimeIsOverError after some seconds, wherever it is.

    Raises:
        TimeIsOverError: In the block.
    """

    def end(*_: Any) -> None:
        raise TimeIsOverError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def measure(setting: Setting, only: list[str], seconds: float, folder: Path) -> dict[str, Any]:
    """Check the losses, then run the arms while there is time."""
    end = time.perf_counter() + seconds
    documents = draw_documents(setting)
    renderer = write_documents(documents, folder / "formatted")
    bench = Bench(setting, documents, folder / "formatted", renderer, folder)
    arms = list_arms(setting)
    result: dict[str, Any] = describe(setting) | {"documents": documents.describe(), "arms": {}}
    result["checks"] = check_losses(setting, documents)
    say({"checks": result["checks"]})
    assert result["checks"]["is_right"], "the figures of wrong losses are worth nothing"
    peaks = find_peaks(setting)
    result["peaks"] = peaks
    with contextlib.suppress(TimeIsOverError), limit_seconds(seconds):
        for name in only or arms:
            if end - time.perf_counter() < LEAST_ARM_SECONDS:
                break
            model = setting.model.model_copy(
                update={"method": "qlora" if name == "qlora" else "lora"}
            )
            found = run_arm(bench, arms[name], model)
            result["arms"][name] = add_shares(bench, found, peaks)
            say({name: result["arms"][name]})
    result["left_out"] = [name for name in only or arms if name not in result["arms"]]
    return result


def find_peaks(setting: Setting) -> dict[str, float | None]:
    """Return what the device computes at most: by its datasheet, and measured; none on a CPU."""
    if not setting.is_cuda:
        return {"datasheet": None, "matmul": None}
    sizes = (MATMUL_SIZE, MATMUL_SIZE, MATMUL_SIZE)
    return {
        "datasheet": find_peak_flops(setting.device.name, setting.dtype),
        "matmul": measure_matmul_flops(sizes, device="cuda", dtype=setting.dtype),
    }


def add_shares(
    bench: Bench, found: dict[str, Any], peaks: dict[str, float | None]
) -> dict[str, Any]:
    """Add MFU, and how far the measured peak of memory is from the predicted one, in percent.

    MFU counts what the documents' mix needs for each token, whatever an arm computes besides.
    """
    shares: dict[str, float] = {}
    if "tokens_per_second" in found:
        work = bench.documents.work
        flops = bench.setting.rates.count_model(work) / work.tokens * found["tokens_per_second"]
        names = {"datasheet": "mfu", "matmul": "mfu_of_matmul"}
        shares = {names[kind]: flops / peak for kind, peak in peaks.items() if peak}
    if found.get("peak_bytes") and found.get("predicted_bytes"):
        shares["prediction_percent"] = 100 * (found["predicted_bytes"] / found["peak_bytes"] - 1)
    return found | shares


def describe(setting: Setting) -> dict[str, Any]:
    """Return what is measured, and on what."""
    names = ("torch", "transformers", "peft", "trl", "bitsandbytes")
    return {
        "device": setting.device.name,
        "dtype": setting.dtype,
        "shape": setting.shape,
        "examples_per_step": setting.examples_per_step,
        "row_tokens": setting.row_tokens,
        "steps": setting.steps,
        "lora_r": setting.model.lora_r,
        "versions": {name: version(name) for name in names},
    }


def say(found: dict[str, Any]) -> None:
    """Print what is known so far, so that it is not lost when the whole is cut."""
    print(json.dumps(found), file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    parser.add_argument("--small", action="store_true", help="a tiny shape, on the processor")
    parser.add_argument("--only", nargs="*", default=[], metavar="ARM", help="arms to run")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of all arms together")
    options = parser.parse_args()
    setting = choose_setting(is_small=options.small)
    if not (options.small or setting.is_cuda):
        parser.error("there is no GPU here; --small runs the same code on the processor")
    unknown = set(options.only) - set(list_arms(setting))
    if unknown:
        parser.error(f"no arm {min(unknown)}; there are {', '.join(list_arms(setting))}")
    if options.small:
        torch.set_num_threads(1)
    be_quiet()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(setting, options.only, options.seconds, Path(folder))
    print(json.dumps(result, indent=None if options.json else 2))


def be_quiet() -> None:
    """Leave out what other packages say besides."""
    disable_progress_bars()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("hone").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", FutureWarning)  # transformers' own, about names it renames


if __name__ == "__main__":
    main()
