"""A training by LLaMA-Factory, from a job to the same folder that the native engine writes."""

from __future__ import annotations

import logging
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml

from configs.errors import RunError
from tasks.records.writing import read_json, write_jsonl, write_text
from tasks.training.adapters import cast_inputs, cast_whole_modules
from tasks.training.assembly import choose_checkpointing
from tasks.training.checkpoints import (
    STATE_FILE,
    Checkpoint,
    explain_damage,
    find_newest_checkpoint,
    link_checkpoints,
    name_checkpoint,
)
from tasks.training.engine import compute_perplexity
from tasks.training.engines.llamafactory.arguments import build_arguments
from tasks.training.engines.llamafactory.checks import check_base, check_request
from tasks.training.engines.llamafactory.data import write_dataset_info, write_tokens
from tasks.training.engines.llamafactory.environment import provide_python
from tasks.training.engines.llamafactory.process import run_child
from tasks.training.engines.llamafactory.progress import (
    Progress,
    is_stopped_early,
    measure_throughput,
    read_history,
    remove_rest,
)
from tasks.training.job import TrainingJob, load_formatted_renderer, open_model
from tasks.training.loss import compute_token_losses
from tasks.training.models import DTYPES, check_quantizable, count_parameters
from tasks.training.plan import plan_validation
from tasks.training.result import TrainingResult, compute_mean_loss
from tasks.training.samples import SampleWriter, read_sample_prompts
from tasks.training.weights import choose_weights, set_greedy_generation, write_model

LOG = logging.getLogger("hone")


def train_with_llamafactory(job: TrainingJob) -> TrainingResult:
    """Train a job with LLaMA-Factory, or go on with it, and write what the native engine writes.

    It trains on hone's tokens, in an environment of its own, as a child process. The weights of
    the best step are then loaded by hone, measured on the validation split and written.

    Raises:
        RequestError: The configuration holds what the engine cannot honour, or it refuses its own
            arguments.
        RunError: It failed, its environment could not be made, or a loss is not finite.
    """
    base = check_job(job)
    start = find_newest_checkpoint(job.checkpoints, job.digest)
    before = read_json(start.folder / STATE_FILE) if start else None
    if is_complete(job, start, before):
        assert start
        LOG.info("training is complete: %s", start.folder)
        return write_result(job, start, None)
    run_engine(job, start, base)
    last = find_newest_checkpoint(job.checkpoints, job.digest)
    if last is None or not is_complete(job, last, state := read_json(last.folder / STATE_FILE)):
        raise RunError(
            where=str(job.checkpoints),
            message="LLaMA-Factory ended without its last checkpoint",
            hint="run again: training goes on from the newest good checkpoint",
        )
    return write_result(job, last, measure_throughput(state, before))


def check_job(job: TrainingJob) -> Any:
    """Refuse what the engine cannot honour; return the base model's configuration.

    Raises:
        RequestError: Naming the keys.
    """
    check_request(job.config, job.training)
    base = read_base_config(job)
    check_base(job.config, base, job.dtype)
    if job.config.method == "qlora":  # else it is refused when all is trained, and loaded by hone
        check_quantizable(job.base_location, job.base_revision)
    folder = job.out / "llamafactory"
    build_arguments(job, data=folder, tokens=folder, start=None, activation_checkpointing=False)
    return base


def is_complete(
    job: TrainingJob, checkpoint: Checkpoint | None, state: dict[str, Any] | None
) -> bool:
    """Return whether a checkpoint is the last one of a job."""
    if checkpoint is None or state is None:
        return False
    is_stopped = is_stopped_early(state, job.training.early_stopping_patience)
    return checkpoint.step >= job.plan.num_steps or is_stopped


def run_engine(job: TrainingJob, start: Checkpoint | None, base: Any) -> None:
    """Write the engine's input, and have it train from a checkpoint to the end."""
    work = job.out / "llamafactory"
    splits = tuple(split for split in (job.train, job.validation) if split)
    arguments = build_arguments(
        job,
        data=work,
        tokens=work / "tokens",
        start=start.folder if start else None,
        activation_checkpointing=choose_checkpointing(job, base.to_dict()),
    )
    python = provide_python()
    write_dataset_info(job.formatted, splits, work)
    write_tokens(splits, work / "tokens", only_prompts=arguments["stage"] == "ppo")
    write_text(work / "train.yaml", yaml.safe_dump(arguments, sort_keys=True))
    step = start.step if start else 0
    job.checkpoints.mkdir(parents=True, exist_ok=True)
    remove_rest(job.checkpoints, step)
    LOG.info("LLaMA-Factory trains steps %d to %d", step + 1, job.plan.num_steps)
    run_child(
        python,
        work / "train.yaml",
        job.out / "logs" / "llamafactory.log",
        device=job.device,
        is_local=isinstance(job.base_location, Path),
        grace_seconds=job.training.grace_seconds,
        look=Progress(job).look,
    )
    shutil.rmtree(work / "tokens")  # as many bytes again as the formatted data
    remove_rest(job.checkpoints, job.plan.num_steps)  # its last weights once more, and records


def write_result(job: TrainingJob, last: Checkpoint, throughput: float | None) -> TrainingResult:
    """Load the weights of the best step, measure them and write them as the native engine does.

    Args:
        job: The job that was trained.
        last: Its last checkpoint.
        throughput: Real tokens a second, where this process trained.
    """
    best = name_checkpoint(job.checkpoints, last.best_step)
    if reason := explain_damage(best, job.digest):
        raise RunError(
            where=str(best),
            message=f"the best checkpoint was damaged meanwhile: {reason}",
            hint="run again: training goes on from the newest good checkpoint",
        )
    link_checkpoints(job.checkpoints, step=last.step, best_step=last.best_step)
    history = read_history(read_json(last.folder / STATE_FILE))
    write_jsonl(job.out / "history.jsonl", history)
    metrics = {"train_loss": compute_mean_loss(history)}
    with open_model(job) as net:
        set_greedy_generation(net, load_formatted_renderer(job.formatted))
        weights = choose_weights(
            net, name=job.config.model_name_or_path, revision=job.base_revision
        )
        weights.read(best)
        if job.validation:
            metrics |= measure_validation(job, net)
            write_samples(job, net, last.best_step)
        if job.config.method == "full":
            net.to(DTYPES[job.dtype])
        else:
            cast_whole_modules(net, DTYPES[job.dtype])
        num_bytes = write_model(net, weights, job.formatted / "tokenizer", job.out / "model")
        total, trainable = count_parameters(net)
    if throughput:
        metrics["tokens_per_second"] = throughput
    LOG.info("best step %d of %d; %.2f MB of weights", last.best_step, last.step, num_bytes / 1e6)
    return TrainingResult(
        num_parameters=total,
        num_trainable_parameters=trainable,
        num_bytes=num_bytes,
        num_steps=last.step,
        best_step=last.best_step,
        metrics=metrics,
        history_path=job.out / "history.jsonl",
    )


def measure_validation(job: TrainingJob, net: Any) -> dict[str, float]:
    """Return the validation loss by hone's own measure, which the native engine's compares with.

    The engine's own is a mean over batches of means; this is the mean over all trained tokens.
    """
    assert job.validation
    device = job.device.kind
    context = (
        torch.autocast(device, dtype=DTYPES[job.dtype])
        if job.computes_in_16_bits
        else nullcontext()
    )
    net.eval()
    with torch.no_grad(), cast_inputs(net, enabled=not job.computes_in_16_bits), context:
        rows = map(job.validation.read_row, plan_validation(job.validation.lengths, job.training))
        losses = [compute_token_losses(net, row.move_to(net.device)) for row in rows]
    loss = torch.cat(losses).cpu().double().mean().item()
    return {"eval_loss": loss, "perplexity": compute_perplexity(loss)}


def write_samples(job: TrainingJob, net: Any, step: int) -> None:
    """Answer a few validation prompts with the finished model; the engine does it for none."""
    prompts = read_sample_prompts(job.formatted, job.training.num_sample_generations)
    if prompts:
        attention = net.config._attn_implementation  # noqa: SLF001 - transformers has no getter
        writer = SampleWriter(prompts, job.observer, job.out, attention)
        writer.on_evaluate(None, SimpleNamespace(global_step=step), None, model=net)


def read_base_config(job: TrainingJob) -> Any:
    """Return the base model's configuration."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(
        str(job.base_location), revision=job.base_revision or "main", trust_remote_code=False
    )
