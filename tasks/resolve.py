"""Find the model that a person names, and load it."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import RequestError
from configs.load import load_config
from configs.schema import ModelConfig
from tasks.publishing.bases import BASE_VARIABLE
from tasks.publishing.local import read_lineage
from tasks.publishing.package import is_package, open_package
from tasks.publishing.registry import find_version_folder
from tasks.records.digests import digest_folder
from tasks.records.handles import FormattedData, Kind, ModelReference, PinnedModel
from tasks.records.home import resolve_in_home
from tasks.records.writing import read_json
from tasks.training.devices import detect_device, resolve_dtype
from tasks.versioning.base_models import locate_base, pin_base

ADAPTER_CONFIG = "adapter_config.json"
RUN_CONFIG = "config.yaml"
RUN_MANIFEST = "manifest.json"
ALLOWED = "a run folder, a checkpoint, a model folder, models:/NAME@ALIAS, a package, or a hub id"


@dataclass(frozen=True)
class ResolvedModel:
    """A model that can be loaded, with what its run says about it."""

    reference: ModelReference
    settings: ModelConfig
    """How the base is loaded (quantised or not); the defaults where no run says it."""
    kind: Kind

    @property
    def tokenizer_folder(self) -> Path:
        """Where its tokenizer and chat template lie."""
        path, base = self.reference.path, self.reference.base
        return resolve_in_home(path) if path else locate_base(base)

    def open(self) -> AbstractContextManager[Any]:
        """Give it in eval mode on this machine's device."""
        return open_model(self.reference, self.settings)


def resolve_model(name: str) -> ResolvedModel:
    """Return the model that `name` names.

    Args:
        name: A run folder, a checkpoint, a model folder, `models:/NAME@ALIAS`, a package, or a hub
            id.

    Raises:
        RequestError: There is no such model, or its base is not the one that it was trained on.
    """
    is_registered = name.startswith("models:/")
    folder = find_version_folder(name) if is_registered else _find_folder(name)
    if is_package(folder):
        folder = open_package(folder)
    if (folder / "model").is_dir():
        folder = folder / "model"
    if not folder.is_dir():
        return _resolve_base(name)
    if (folder / ADAPTER_CONFIG).is_file():
        return _resolve_adapter(folder)
    if not (folder / "config.json").is_file():
        raise RequestError(
            message=f"{folder} holds no model",
            where="MODEL",
            allowed=ALLOWED,
            hint="a run that has trained has a model/ folder",
        )
    return _resolve_base(str(folder))


def refer_to_base(base: PinnedModel, dtype: str = "auto") -> ModelReference:
    """Return a bare base model as something that can be loaded and scored."""
    return ModelReference(
        digest=base.revision,
        path=None,
        base=base,
        method="base",
        dtype=resolve_dtype(dtype, detect_device()),
    )


@contextmanager
def open_model(reference: ModelReference, model: ModelConfig | None = None) -> Iterator[Any]:
    """Give a model in eval mode on this machine's device.

    Models that are opened one after the other on the same base share its weights in memory.

    Args:
        reference: Which weights.
        model: How to quantise; only read with `qlora`.
    """
    from tasks.training.shared_base import borrow_base, borrow_trained

    base = locate_base(reference.base)
    revision = reference.base.revision
    device = detect_device().kind
    if reference.method == "base" or reference.path is None:
        with borrow_base(base, dtype=reference.dtype, device=device, revision=revision) as opened:
            yield opened
        return
    with borrow_trained(
        resolve_in_home(reference.path),
        base,
        method=reference.method,
        dtype=reference.dtype,
        device=device,
        model=model,
        revision=revision,
    ) as opened:
        yield opened


def release_memory() -> None:
    """Give the device's memory back when a stage is done with its model.

    A trainer and its model refer to each other: without a collection they stay, and the next
    stage's copy does not fit beside them. Base weights that the next stage shares are kept.
    """
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def release_models() -> None:
    """Give up the base weights that stages share, when no stage will ask for them any more."""
    shared = sys.modules.get("tasks.training.shared_base")
    if shared:  # else everything came from the cache, and torch was not even imported
        shared.release_base()
        release_memory()


def _find_folder(name: str) -> Path:
    """Return a path from the current folder, or, as results name them, from HONE_HOME."""
    folder = Path(name).expanduser().absolute()
    in_home = resolve_in_home(name)
    return in_home if in_home.exists() and not folder.exists() else folder


def find_settings(reference: ModelReference, otherwise: ModelConfig) -> ModelConfig:
    """Return how a model's base is loaded: as its own run or version says, or `otherwise`."""
    run = _find_run(resolve_in_home(reference.path)) if reference.path else None
    return load_config(str(run / RUN_CONFIG)).model if run else otherwise


def _resolve_base(name: str) -> ResolvedModel:
    return ResolvedModel(refer_to_base(pin_base(name, None)), ModelConfig(), "messages")


def _resolve_adapter(folder: Path) -> ResolvedModel:
    adapter = read_json(folder / ADAPTER_CONFIG)
    run = _find_run(folder)
    settings = load_config(str(run / RUN_CONFIG)).model if run else None
    lineage = read_lineage(folder)
    name = settings.model_name_or_path if settings else adapter["base_model_name_or_path"]
    base = find_moved(lineage.base) if lineage else pin_base(name, adapter.get("revision"))
    if adapter.get("revision") not in {None, base.revision}:
        raise RequestError(
            message=f"{name} is not the base that this adapter was trained on: "
            f"found {base.revision[:12]}, trained on {adapter['revision'][:12]}",
            where=str(folder / ADAPTER_CONFIG),
            hint="bring that version of the base model back",
        )
    settings = settings or ModelConfig()
    reference = ModelReference(
        digest=digest_folder(folder),
        path=str(folder),
        base=base,
        method="qlora" if settings.method == "qlora" else "lora",
        dtype=resolve_dtype(settings.dtype, detect_device()),
    )
    return ResolvedModel(reference, settings, lineage.kind if lineage else _find_kind(run))


def find_moved(base: PinnedModel) -> PinnedModel:
    """Return a local base model at the place that HONE_BASE_MODEL names, where it has moved."""
    named = os.environ.get(BASE_VARIABLE)
    return base if locate_base(base).is_dir() or not named else pin_base(named, None)


def _find_run(folder: Path) -> Path | None:
    """Return the run or version that a model or checkpoint folder belongs to."""
    places = (folder, *list(folder.parents)[:2])
    return next((place for place in places if (place / RUN_CONFIG).is_file()), None)


def _find_kind(run: Path | None) -> Kind:
    """Return whether a run's rows were conversations or plain text."""
    if run is None or not (run / RUN_MANIFEST).is_file():
        return "messages"
    formatted = read_json(run / RUN_MANIFEST)["handles"].get("format")
    return FormattedData.model_validate(formatted).kind if formatted else "messages"
