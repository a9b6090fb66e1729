"""What a training would refuse, found before anything is computed for it."""

from __future__ import annotations

from pathlib import Path

from configs.schema import ModelConfig, TrainingConfig
from tasks.records.observer import SilentObserver
from tasks.training.arguments import check_optimization
from tasks.training.devices import detect_device, resolve_dtype
from tasks.training.distillation import check_vocabulary
from tasks.training.job import TrainingJob, open_splits
from tasks.training.levers import check_levers


def check_training(
    *,
    formatted: Path,
    base_location: Path | str,
    base_revision: str | None,
    model: ModelConfig,
    training: TrainingConfig,
    teacher_location: Path | str | None = None,
    teacher_revision: str | None = None,
) -> None:
    """Refuse what `train_model` would refuse, as far as it is known without the model's weights.

    Args:
        formatted: As in `train_model`.
        base_location: As in `train_model`.
        base_revision: As in `train_model`.
        model: As in `train_model`.
        training: As in `train_model`.
        teacher_location: As in `train_model`.
        teacher_revision: As in `train_model`.

    Raises:
        RequestError: The device, an installed package, the rows, the teacher or the engine cannot
            do what is asked for.
    """
    check_levers(training, detect_device())
    if training.engine == "native":
        check_optimization(training)
    if teacher_location is not None:
        revision = None if Path(teacher_location).is_dir() else teacher_revision
        check_vocabulary(teacher_location, formatted / "tokenizer", revision=revision)
    if training.objective != "sft":
        from tasks.training.objectives.preference import check_model, open_judged

        check_model(model, training)
        open_judged(formatted, training)
    if training.engine == "llamafactory":
        from tasks.training.engines.llamafactory.train import check_job

        check_job(_describe_job(formatted, base_location, base_revision, model, training))


def _describe_job(
    formatted: Path,
    base_location: Path | str,
    base_revision: str | None,
    model: ModelConfig,
    training: TrainingConfig,
) -> TrainingJob:
    """Return a training that is only looked at: it has no folder of its own."""
    train, validation, plan = open_splits(formatted, training)
    device = detect_device()
    return TrainingJob(
        formatted=formatted,
        out=formatted / "none",
        base_location=base_location,
        base_revision=base_revision,
        config=model,
        training=training,
        device=device,
        dtype=resolve_dtype(model.dtype, device),
        train=train,
        validation=validation,
        plan=plan,
        observer=SilentObserver(),
    )
