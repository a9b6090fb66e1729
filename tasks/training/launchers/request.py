"""A training as a file that the processes of a launcher read: places and configurations."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from configs.schema import ModelConfig, TrainingConfig
from tasks.records.writing import read_json, write_json

PLACES = ("formatted", "out", "base_location", "teacher_location", "init_adapter")


@dataclass(frozen=True)
class TrainingRequest:
    """What `train_model` is asked for, without what belongs to one process.

    Attributes:
        formatted: The folder that formatting wrote.
        base_location: The base model's folder, or its hub id.
        base_revision: Its pinned revision.
        out: The folder of the result.
        model: Method and adapter.
        training: The optimisation.
        teacher_location: The folder of the model to distil, or its hub id; None for none.
        teacher_revision: Its pinned revision.
        init_adapter: The folder of the adapter to start from; None for a new one.
    """

    formatted: Path
    base_location: Path | str
    base_revision: str | None
    out: Path
    model: ModelConfig
    training: TrainingConfig
    teacher_location: Path | str | None = None
    teacher_revision: str | None = None
    init_adapter: Path | None = None

    def to_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of `train_model`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def write_request(path: Path, request: TrainingRequest) -> None:
    """Write a request, with absolute paths: the processes may work in other folders."""
    values = request.to_arguments()
    for name in PLACES:
        values[name] = _describe_place(values[name])
    values["model"] = request.model.model_dump(mode="json")
    values["training"] = request.training.model_dump(mode="json")
    write_json(path, values)


def read_request(path: Path) -> TrainingRequest:
    """Return the request in a file."""
    values = read_json(path)
    for name in PLACES:
        values[name] = _find_place(values[name])
    values["model"] = ModelConfig.model_validate(values["model"])
    values["training"] = TrainingConfig.model_validate(values["training"])
    return TrainingRequest(**values)


def _describe_place(place: Path | str | None) -> dict[str, str] | None:
    if place is None:
        return None
    return {"folder": str(place.absolute())} if isinstance(place, Path) else {"hub": place}


def _find_place(described: dict[str, str] | None) -> Path | str | None:
    if described is None:
        return None
    return Path(described["folder"]) if "folder" in described else described["hub"]
