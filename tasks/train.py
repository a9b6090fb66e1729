"""Train the base model on the formatted rows."""

from __future__ import annotations

import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.errors import HoneError
from configs.schema import RunConfig
from tasks.foresee import announce_gate
from tasks.observe import TaskObserver
from tasks.publishing.costs import ENERGY
from tasks.records.digests import digest_code, digest_folder, find_versions
from tasks.records.entries import MANIFEST, find_entry, reuse_or_build
from tasks.records.environment import write_environment
from tasks.records.handles import DataVersion, FormattedData, PinnedModel, TrainedModel
from tasks.records.home import find_home
from tasks.records.runs import RunFolder, link_results
from tasks.records.stage_fields import name_fields
from tasks.resolve import release_memory
from tasks.start import check_start, find_start
from tasks.track import LOGS, UNSENT, track, track_live
from tasks.tracking.energy import measure_energy
from tasks.tracking.system_metrics import record_system
from tasks.training.devices import detect_device, resolve_dtype
from tasks.training.engines.llamafactory.environment import find_engine_versions
from tasks.training.peak_memory import PEAK_MEMORY, measure_peak_memory
from tasks.training.stopping import ShouldStop
from tasks.versioning.base_models import locate_base, pin_base

LOG = logging.getLogger("hone")
# These change after the entry is complete, or are of no use to who reads the result.
NOT_VERIFIED = ("checkpoints", LOGS, UNSENT)


@task(name="train", cache_policy=NO_CACHE)
def train(
    data: DataVersion, formatted: FormattedData, config: RunConfig, run: RunFolder
) -> TrainedModel:
    """Train, resuming an interrupted training of the same digest where there is one."""
    if not is_trained(data, formatted, config):
        announce_gate(config, formatted)
    handle = train_candidate(data, formatted, config, run)
    samples = handle.folder / "samples.md"
    if samples.is_file() and not handle.reused:
        create_markdown_artifact(samples.read_text(encoding="utf-8"), key="sample-generations")
    return handle


def train_candidate(
    data: DataVersion,
    formatted: FormattedData,
    config: RunConfig,
    run: RunFolder,
    should_stop: ShouldStop | None = None,
) -> TrainedModel:
    """Do what `train` does, without the gate: the training may be of a trial that is not decided.

    Raises:
        TrainingStopped: `should_stop` said so; what was trained until then can be gone on from.
    """
    key = describe_training(data, formatted, config)
    entry = find_entry("train", key)
    link_results(run, {name: entry / name for name in ("checkpoints", "logs", "model")})
    handle = reuse_or_build(
        "train",
        key,
        TrainedModel,
        lambda folder: _build(data, formatted, config, run, folder, should_stop),
        keep_partial=True,
        exclude=NOT_VERIFIED,
    )
    LOG.info(
        "train: %d steps, validation loss %s, %.0f s, %d of %d parameters trained, %.1f MB%s",
        handle.num_steps, _show_loss(handle), handle.metrics["seconds"],
        handle.num_trainable_parameters, handle.num_parameters, handle.num_bytes / 1e6,
        " (from the cache)" if handle.reused else "",
        extra=name_fields(
            "train", steps=handle.num_steps, best_step=handle.best_step, metrics=handle.metrics,
            num_bytes=handle.num_bytes, digest=handle.digest, reused=handle.reused,
        ),
    )  # fmt: skip
    return handle


def _show_loss(handle: TrainedModel) -> str:
    loss = handle.metrics.get("eval_loss")
    return "not measured" if loss is None else f"{loss:.4f}"


def check_training(data: DataVersion, formatted: FormattedData, config: RunConfig) -> None:
    """Refuse what the training would refuse, before the base model is evaluated for nothing.

    Raises:
        RequestError: The teacher, the optimiser, the engine, the device or the rows will not do.
    """
    if is_trained(data, formatted, config):  # its teacher is found here
        return
    from tasks.training.checks import check_training as check

    check_start(data, formatted, config)
    teacher = find_teacher(config)
    check(
        formatted=formatted.folder,
        base_location=locate_base(data.base),
        base_revision=data.base.revision,
        model=config.model,
        training=config.training,
        teacher_location=locate_base(teacher) if teacher else None,
        teacher_revision=teacher.revision if teacher else None,
    )


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
    sources = ["tasks.training", "tasks.formatting.tokens.packing"]
    if config.training.objective != "sft":
        libraries.append("trl")
        sources.append("tasks.formatting.rendering")  # of the rejected answers
    teacher, start = find_teacher(config), find_start(config)
    is_ours = config.training.engine == "native"
    versions = find_versions(*libraries) | ({} if is_ours else find_engine_versions())
    return {
        "data": formatted.digest,
        "template": formatted.template_digest,
        "base": data.base.revision,
        "model": config.model.model_dump(mode="json", exclude=elsewhere),
        "training": config.training.describes_result,
        "dtype": resolve_dtype(config.model.dtype, device),
        "device": device.kind,
        "teacher": teacher.revision if teacher else None,
        "init_adapter": start.digest if start else None,
        "code": digest_code(*sources),
        "versions": versions,
    }


def find_teacher(config: RunConfig) -> PinnedModel | None:
    """Return the model to distil, pinned to its weights; None where there is none.

    Raises:
        RequestError: There is no such model.
    """
    name = config.training.teacher
    if name is None:
        return None
    try:
        return pin_base(name, config.training.teacher_revision)
    except HoneError as err:
        where = f"training.teacher={name}"
        raise type(err)(err.message, where, err.allowed, err.hint, err.problems) from err


def _build(
    data: DataVersion,
    formatted: FormattedData,
    config: RunConfig,
    run: RunFolder,
    entry: Path,
    should_stop: ShouldStop | None,
) -> TrainedModel:
    from tasks.training.launchers.launch import choose_launcher, launch_training
    from tasks.training.launchers.request import TrainingRequest

    check_start(data, formatted, config)  # of trials and comparisons nobody has asked before
    is_ours = config.training.engine == "native" and choose_launcher(config.training) == "process"
    is_counted = is_ours and detect_device().kind == "cuda"
    teacher, start = find_teacher(config), find_start(config)
    request = TrainingRequest(
        formatted=formatted.folder,
        base_location=locate_base(data.base),
        base_revision=data.base.revision,
        out=entry,
        model=config.model,
        training=config.training,
        teacher_location=locate_base(teacher) if teacher else None,
        teacher_revision=teacher.revision if teacher else None,
        init_adapter=start.folder if start else None,
    )
    is_live = "mlflow" in config.tracking.report_to
    started = time.monotonic()
    with (
        track_live(config, run, data, entry) as live,
        measure_peak_memory(is_counted=is_counted) as peak,
        record_system(partial(track, config, run, data) if is_live else None),
        measure_energy(is_measured=config.tracking.measure_energy) as energy,
    ):
        result = launch_training(request, TaskObserver("train", live), should_stop)
    release_memory()
    device = detect_device()
    write_environment(entry, device.kind, device.name)
    measured = {PEAK_MEMORY: float(peak.num_bytes)} if peak.num_bytes else {}
    measured |= {ENERGY: energy.kwh} if energy.kwh is not None else {}
    return TrainedModel(
        path=entry.relative_to(find_home()).as_posix(),
        digest=digest_folder(entry / "model"),
        base=data.base,
        method=config.model.method,
        dtype=resolve_dtype(config.model.dtype, device),
        template_digest=formatted.template_digest,
        num_parameters=result.num_parameters,
        num_trainable_parameters=result.num_trainable_parameters,
        num_bytes=result.num_bytes,
        num_steps=result.num_steps,
        best_step=result.best_step,
        metrics=result.metrics | measured | {"seconds": time.monotonic() - started},
    )
