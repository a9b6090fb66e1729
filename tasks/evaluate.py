"""Score one model on the frozen evaluation splits."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from configs.schema import ModelConfig, RunConfig
from tasks.evaluation.custom_metrics import digest_custom_metrics
from tasks.evaluation.slices import check_slices
from tasks.observe import TaskObserver
from tasks.records.digests import digest_code, digest_folder, find_versions
from tasks.records.entries import reuse_or_build
from tasks.records.handles import Arm, Evaluation, FormattedData, ModelReference
from tasks.records.home import find_home, resolve_in_home
from tasks.records.observer import Observer
from tasks.records.stage_fields import name_fields
from tasks.resolve import find_settings, open_model, release_memory
from tasks.training.devices import detect_device

LOG = logging.getLogger("hone")
NOT_EVALUATED = {"train", "validation"}
LOADING = ("tasks.training.models", "tasks.training.adapters", "tasks.training.shared_base")
LIBRARIES = ("torch", "transformers", "peft", "rouge-score", "nltk", "sacrebleu", "jsonschema")


def check_scoring(config: RunConfig) -> None:
    """Refuse metrics of the user's own that cannot be computed, before anything is done.

    Raises:
        RequestError: Naming the key, and what is wrong with the function.
    """
    digest_custom_metrics(config.evaluation.custom_metrics)


def check_slicing(formatted: FormattedData, config: RunConfig, splits: Sequence[str]) -> None:
    """Refuse fields that the rows cannot be sliced by, before anything is answered.

    Raises:
        RequestError: No row of these splits has the field, or it has too many values.
    """
    if not config.evaluation.slice_by:
        return
    from tasks.formatting.rows.examples import iter_examples

    folder = formatted.folder / "examples"
    rows = (row for split in splits for row in iter_examples(folder / f"{split}.jsonl"))
    check_slices((row.fields for row in rows), config.evaluation.slice_by)


@task(name="evaluate", task_run_name="evaluate-{arm}", cache_policy=NO_CACHE)
def evaluate(
    arm: Arm,
    model: ModelReference,
    formatted: FormattedData,
    config: RunConfig,
    splits: Sequence[str] | None = None,
) -> Evaluation:
    """Answer and score every example of the evaluation splits, or those named; keep each answer."""
    splits = splits or [name for name in formatted.splits if name not in NOT_EVALUATED]
    shown = "test" if "test" in splits else splits[0]
    with TaskObserver(f"evaluate {arm}") as observer:
        handle = evaluate_splits(arm, model, formatted, config, splits, observer)
    LOG.info(
        "evaluate %s: %s %s%s", arm, shown,
        ", ".join(f"{n} {value:.4g}" for n, value in handle.metrics.get(shown, {}).items()),
        " (from the cache)" if handle.reused else "",
        extra=name_fields(
            "evaluate", arm=arm, metrics=handle.metrics, digest=handle.digest,
            reused=handle.reused,
        ),
    )  # fmt: skip
    return handle


def evaluate_splits(
    arm: Arm,
    model: ModelReference,
    formatted: FormattedData,
    config: RunConfig,
    splits: Sequence[str],
    observer: Observer,
) -> Evaluation:
    """Do what `evaluate` does on the named splits, without Prefect."""
    check_slicing(formatted, config, splits)
    settings = find_settings(model, config.model)
    quantization = [settings.bnb_4bit_quant_type, settings.use_bnb_nested_quant]
    is_quantized = model.method == "qlora"
    key = {
        "quantization": quantization if is_quantized else None,
        "model": model.model_dump(
            mode="json", exclude={"path": True, "base": {"location", "name"}}
        ),
        "splits": {name: formatted.splits[name].digest for name in sorted(splits)},
        "template": formatted.template_digest,
        "settings": config.evaluation.describes_predictions,
        "custom_metrics": digest_custom_metrics(config.evaluation.custom_metrics),
        "device": detect_device().kind,
        "code": digest_code("tasks.evaluation", "tasks.formatting", *LOADING),
        "versions": find_versions(*LIBRARIES, *(["bitsandbytes"] if is_quantized else [])),
    }
    handle = reuse_or_build(
        "evaluate",
        key,
        Evaluation,
        lambda entry: _build(
            arm, model, settings, formatted, config, sorted(splits), observer, entry
        ),
        exclude=("timing.json",),
    )
    return handle.model_copy(update={"arm": arm})  # the champion was once a candidate


def _build(
    arm: Arm,
    model: ModelReference,
    settings: ModelConfig,
    formatted: FormattedData,
    config: RunConfig,
    splits: Sequence[str],
    observer: Observer,
    entry: Path,
) -> Evaluation:
    from tasks.evaluation.evaluate import evaluate_model
    from tasks.formatting.rendering.renderer import load_renderer
    from tasks.formatting.rows.examples import read_examples

    tokenizer = resolve_in_home(model.path) if model.path else formatted.folder / "tokenizer"
    renderer = load_renderer(tokenizer, None, formatted.kind)
    examples = {s: read_examples(formatted.folder / "examples" / f"{s}.jsonl") for s in splits}
    with open_model(model, settings) as net:
        metrics = evaluate_model(
            net,
            renderer,
            examples,
            entry,
            evaluation=config.evaluation,
            kind=formatted.kind,
            observer=observer,
        )
    release_memory()
    return Evaluation(
        path=entry.relative_to(find_home()).as_posix(),
        digest=digest_folder(entry / "predictions"),
        arm=arm,
        model_digest=model.digest,
        template_digest=renderer.digest,
        metrics=metrics,
    )
