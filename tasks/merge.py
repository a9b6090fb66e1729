"""Merge a trained adapter into its base, before it is evaluated."""

from __future__ import annotations

import functools
import logging
import math
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from configs.errors import RunError
from configs.schema import RunConfig
from tasks.records.digests import digest_code, digest_folder, find_versions
from tasks.records.entries import reuse_or_build
from tasks.records.handles import FormattedData, TrainedModel
from tasks.records.home import find_home
from tasks.records.runs import RunFolder, link_results
from tasks.resolve import release_memory, release_models
from tasks.training.devices import detect_device
from tasks.versioning.base_models import locate_base

LOG = logging.getLogger("hone")
MEASURED = ("validation", "dev", "test")  # on the first of them that there is
MAX_ROWS = 200


@task(name="merge", cache_policy=NO_CACHE)
def merge(
    trained: TrainedModel, formatted: FormattedData, config: RunConfig, run: RunFolder
) -> TrainedModel:
    """Return the adapter merged into its base, which is what is evaluated and published then."""
    key = {
        "model": trained.digest,
        "base": trained.base.revision,
        "dtype": trained.dtype,
        "quantization": config.model.model_dump(
            mode="json", include={"load_in_8bit", "bnb_4bit_quant_type", "use_bnb_nested_quant"}
        ),
        "data": formatted.digest,
        "tolerance": config.publish.max_nll_difference,
        "device": detect_device().kind,
        "code": digest_code("tasks.merge", "tasks.training.merging", "tasks.training.models"),
        "versions": find_versions("torch", "transformers", "peft", "bitsandbytes"),
    }
    handle = reuse_or_build(
        "merge", key, TrainedModel, lambda entry: _build(trained, formatted, config, entry)
    )
    link_results(run, {"adapter": trained.model_folder, "model": handle.model_folder})
    LOG.info(
        "merge: into the %s base; NLL %.4f, with the adapter beside it %.4f; %.1f MB%s",
        "dequantised" if trained.method == "qlora" else trained.dtype,
        handle.metrics["merged_nll"], handle.metrics["adapter_nll"], handle.num_bytes / 1e6,
        " (from the cache)" if handle.reused else "",
    )  # fmt: skip
    return handle


def _build(
    trained: TrainedModel, formatted: FormattedData, config: RunConfig, entry: Path
) -> TrainedModel:
    from tasks.training.merging import merge_trained, write_merged
    from tasks.training.models import load_trained

    device, base = detect_device().kind, locate_base(trained.base)
    load, merge_again = (
        functools.partial(
            function,
            trained.model_folder,
            base,
            method=trained.method,
            dtype=trained.dtype,
            device=device,
            model=config.model,
        )
        for function in (load_trained, merge_trained)
    )
    release_models()  # a base that is kept for the next stage would be a third copy
    before = measure_nll(load(), formatted, config)
    release_memory()
    merged = merge_again()
    after = measure_nll(merged, formatted, config)
    check_nll(before, after, config.publish.max_nll_difference)
    size = write_merged(merged, trained.model_folder, entry / "model")
    del merged
    release_memory()
    return trained.model_copy(
        update={
            "path": entry.relative_to(find_home()).as_posix(),
            "digest": digest_folder(entry / "model"),
            "method": "full",
            "merged": trained.method,
            "num_bytes": size,
            "metrics": trained.metrics | {"adapter_nll": before, "merged_nll": after},
            "reused": False,
        }
    )


def measure_nll(model: object, formatted: FormattedData, config: RunConfig) -> float:
    """Return a model's NLL per trained token on rows that decide nothing, `test` where need be."""
    from tasks.evaluation.engines.answering import Answering
    from tasks.evaluation.predict import score_examples
    from tasks.formatting.rendering.renderer import load_renderer
    from tasks.formatting.rows.examples import read_examples
    from tasks.records.observer import SilentObserver

    split = next(name for name in MEASURED if name in formatted.splits)
    examples = read_examples(formatted.folder / "examples" / f"{split}.jsonl")[:MAX_ROWS]
    renderer = load_renderer(formatted.folder / "tokenizer", None, formatted.kind)
    given = Answering(model, None, renderer, config.evaluation, SilentObserver())
    scores = score_examples(given, examples, formatted.kind)
    nats = math.fsum(score.nll_sum for score in scores)
    return nats / sum(score.num_tokens for score in scores)


def check_nll(before: float, after: float, tolerance: float) -> None:
    """Refuse a merge after which the model is another one.

    Raises:
        RunError: The NLL moved by more than the tolerance, or is not a number.
    """
    if not abs(after - before) <= tolerance:
        raise RunError(
            where="publish.merge",
            message=f"the merge moved the NLL from {before:.4f} to {after:.4f}, by more than "
            f"{tolerance:g}",
            hint="publish the adapter (publish.merge: false), or train it on a base in more bits",
        )
