"""Score one model on the frozen evaluation splits."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from configs.errors import RequestError
from configs.paths import resolve_path
from configs.schema import ModelConfig, RunConfig
from tasks.evaluation.custom_metrics import digest_custom_metrics
from tasks.evaluation.slices import check_slices
from tasks.observe import TaskObserver
from tasks.records.digests import digest_code, digest_folder, find_versions
from tasks.records.entries import reuse_or_build
from tasks.records.extras import require_package
from tasks.records.handles import Arm, Evaluation, FormattedData, ModelReference, PinnedModel
from tasks.records.home import find_home, resolve_in_home
from tasks.records.observer import Observer
from tasks.resolve import find_settings, open_model, release_memory
from tasks.training.devices import detect_device
from tasks.versioning.base_models import locate_base, pin_base

if TYPE_CHECKING:
    from tasks.evaluation.engines.answering import ModelFiles

LOG = logging.getLogger("hone")
NOT_EVALUATED = {"train", "validation"}
LOADING = ("tasks.training.models", "tasks.training.adapters", "tasks.training.shared_base")
LIBRARIES = ("torch", "transformers", "peft", "rouge-score", "nltk", "sacrebleu", "jsonschema")


def check_scoring(config: RunConfig, *, is_run: bool = True) -> None:
    """Refuse metrics and engines that cannot work, before anything is done.

    Raises:
        RequestError: A metric of the user's own cannot be computed, an engine is not there, or a
            server is to answer for the several models of a run.
    """
    digest_custom_metrics(config.evaluation.custom_metrics)
    engine = config.evaluation.engine
    if engine == "openai" and is_run:
        raise RequestError(
            where="evaluation.engine",
            message="openai: a server has one model, and a run compares several",
            allowed="static, continuous, vllm",
            hint="use it with hone evaluate",
        )
    if engine in {"vllm", "openai"}:
        require_package(engine, where="evaluation.engine", needed_for=engine)
    if config.evaluation.judge_url:
        require_package("openai", where="evaluation.judge_url", needed_for="a judge")
    if config.evaluation.lm_eval_tasks:
        require_package("lm_eval", where="evaluation.lm_eval_tasks", needed_for="lm-eval")
    pin_classifier(config)
    if engine == "continuous":
        from tasks.evaluation.engines.continuous import check_continuous

        check_continuous()


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
    classifier = pin_classifier(config)
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
        "classifier": classifier.revision if classifier else None,
        "lm_eval": digest_suite(config),
        # Which weights a server has is not known: it is asked each time.
        "asked": time.time_ns() if config.evaluation.engine == "openai" else None,
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


def pin_classifier(config: RunConfig) -> PinnedModel | None:
    """Return the classifier of toxicity, pinned to its exact weights, if one is asked for."""
    name = config.evaluation.toxicity_model
    return pin_base(name, None) if name else None


def digest_suite(config: RunConfig) -> list[Any] | None:
    """Return what determines the answers to lm-eval's tasks besides the settings."""
    if not config.evaluation.lm_eval_tasks:
        return None
    folder = config.evaluation.lm_eval_path
    return [find_versions("lm-eval"), digest_folder(resolve_path(folder)) if folder else None]


def find_files(model: ModelReference) -> ModelFiles:
    """Return where a model lies, for engines that load it themselves."""
    from tasks.evaluation.engines.answering import ModelFiles

    adapter = resolve_in_home(model.path) if model.path else None
    if model.method == "full" and adapter:
        return ModelFiles(adapter, None, model.dtype)
    return ModelFiles(locate_base(model.base), adapter, model.dtype)


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
    classifier = pin_classifier(config)
    is_served = config.evaluation.engine == "openai"
    with nullcontext() if is_served else open_model(model, settings) as net:
        metrics = evaluate_model(
            net,
            renderer,
            examples,
            entry,
            evaluation=config.evaluation,
            kind=formatted.kind,
            observer=observer,
            files=find_files(model),
            classifier=locate_base(classifier) if classifier else None,
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
