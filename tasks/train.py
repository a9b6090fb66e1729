"""Train the base model on the formatted rows."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.schema import RunConfig
from tasks.observe import TaskObserver
from tasks.plan import announce_gate
from tasks.records.digests import digest_code, digest_folder, find_versions
from tasks.records.entries import MANIFEST, find_entry, reuse_or_build
from tasks.records.handles import DataVersion, FormattedData, TrainedModel
from tasks.records.home import find_home
from tasks.records.runs import RunFolder, link_results
from tasks.resolve import release_memory
from tasks.track import UNSENT, track
from tasks.tracking.observer import LiveMetrics
from tasks.training.devices import detect_device, resolve_dtype
from tasks.versioning.base_models import locate_base

LOG = logging.getLogger("hone")
# These change after the entry is complete, or are of no use to who reads the result.
NOT_VERIFIED = ("checkpoints", "logs", UNSENT)


@task(name="train", cache_policy=NO_CACHE)
def train(
    data: DataVersion, formatted: FormattedData, config: RunConfig, run: RunFolder
) -> TrainedModel:
    """Train, resuming an interrupted training of the same digest where there is one."""
    key = describe_training(data, formatted, config)
    entry = find_entry("train", key)
    link_results(run, {name: entry / name for name in ("checkpoints", "logs", "model")})
    handle = reuse_or_build(
        "train",
        key,
        TrainedModel,
        lambda folder: _build(data, formatted, config, run, folder),
        keep_partial=True,
        exclude=NOT_VERIFIED,
    )
    LOG.info(
        "train: %d steps, validation loss %.4f, %.0f s, %d of %d parameters trained, %.1f MB%s",
        handle.num_steps, handle.metrics.get("eval_loss", float("nan")), handle.metrics["seconds"],
        handle.num_trainable_parameters, handle.num_parameters, handle.num_bytes / 1e6,
        " (from the cache)" if handle.reused else "",
    )  # fmt: skip
    samples = handle.folder / "samples.md"
    if samples.is_file() and not handle.reused:
        create_markdown_artifact(samples.read_text(encoding="utf-8"), key="sample-generations")
    return handle


def is_trained(data: DataVersion, formatted: FormattedData, config: RunConfig) -> bool:
    """Return whether `train` would find its result in the cache."""
    return (find_entry("train", describe_training(data, formatted, config)) / MANIFEST).is_file()


def describe_training(
    data: DataVersion, formatted: FormattedData, config: RunConfig
) -> dict[str, Any]:
    """Return what determines a training: never a path, always the content behind it."""
    device = detect_device()
    elsewhere = {"model_name_or_path", "model_revision", "chat_template"}  # in base and template
    libraries = ["torch", "transformers", "peft", "accelerate"]
    libraries += ["bitsandbytes"] if config.model.method == "qlora" else []
    return {
        "data": formatted.digest,
        "template": formatted.template_digest,
        "base": data.base.revision,
        "model": config.model.model_dump(mode="json", exclude=elsewhere),
        "training": config.training.model_dump(mode="json"),
        "dtype": resolve_dtype(config.model.dtype, device),
        "device": device.kind,
        "code": digest_code("tasks.training", "tasks.formatting.tokens.packing"),
        "versions": find_versions(*libraries),
    }


def _build(
    data: DataVersion, formatted: FormattedData, config: RunConfig, run: RunFolder, entry: Path
) -> TrainedModel:
    from tasks.training.train import train_model

    announce_gate(config, formatted)
    started = time.monotonic()
    with LiveMetrics(lambda: track(config, run, data), entry / UNSENT) as live:
        result = train_model(
            formatted=formatted.folder,
            base_location=locate_base(data.base),
            base_revision=data.base.revision,
            out=entry,
            model=config.model,
            training=config.training,
            observer=TaskObserver("train", [live]),
        )
    release_memory()
    return TrainedModel(
        path=entry.relative_to(find_home()).as_posix(),
        digest=digest_folder(entry / "model"),
        base=data.base,
        method=config.model.method,
        dtype=resolve_dtype(config.model.dtype, detect_device()),
        template_digest=formatted.template_digest,
        num_parameters=result.num_parameters,
        num_trainable_parameters=result.num_trainable_parameters,
        num_bytes=result.num_bytes,
        num_steps=result.num_steps,
        best_step=result.best_step,
        metrics=result.metrics | {"seconds": time.monotonic() - started},
    )
