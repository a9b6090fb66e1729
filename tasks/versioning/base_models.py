"""Pin a base model: a local folder by its content, a hub model by its commit hash."""

from __future__ import annotations

import os
from pathlib import Path

from configs.errors import RequestError, RunError
from tasks.records.digests import digest_files, digest_value
from tasks.records.handles import PinnedModel
from tasks.records.home import find_project, resolve_in_project

# What a model consists of; pickled weights and Python files are never read.
MODEL_PATTERNS = (
    "*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json",
    "tokenizer*", "special_tokens_map.json", "vocab.*", "merges.txt", "chat_template.*", "*.model",
)  # fmt: skip
# Second copies of the weights in other layouts, and folders of other variants.
IGNORED_PATTERNS = ("consolidated*", "*/*")


def pin_base(name: str, revision: str | None) -> PinnedModel:
    """Return the base model pinned to the exact weights that will be read.

    Args:
        name: A folder (relative ones start at hone's clone) or a hub id.
        revision: Branch, tag or commit of a hub model.

    Raises:
        RequestError: The folder has no weights, or the hub does not know or refuses the model.
    """
    folder = resolve_in_project(name)
    if folder.exists() or _looks_like_path(name):
        return _pin_folder(name, folder)
    return _pin_hub_model(name, revision)


def locate_base(base: PinnedModel) -> Path:
    """Return the folder of a pinned base model on this machine."""
    return resolve_in_project(base.location)


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def _pin_folder(name: str, folder: Path) -> PinnedModel:
    where = f"model.model_name_or_path={name}"
    if not folder.is_dir():
        raise RequestError(
            message=f"no folder {folder}", where=where, allowed="a model folder or a hub id"
        )
    digest = digest_value(digest_files(folder, _list_model_files(folder, where)))
    return PinnedModel(name=name, revision=digest[:40], location=_describe_place(folder))


def _list_model_files(folder: Path, where: str) -> list[str]:
    """Return the names of a model's files, sorted; refuse a folder without weights."""
    files = sorted({p.name for pattern in MODEL_PATTERNS for p in folder.glob(pattern)})
    if "config.json" not in files or not any(f.endswith(".safetensors") for f in files):
        raise RequestError(
            message=f"{folder} holds no model: config.json and *.safetensors are needed",
            where=where,
            allowed="a folder as save_pretrained writes it, weights as safetensors",
            hint="pickled weights (.bin, .pt) are not read: save them again as safetensors",
        )
    return files


def _describe_place(folder: Path) -> str:
    """Return a folder's place, relative to the clone where it lies in it."""
    project = find_project()
    inside = folder.is_relative_to(project)
    return folder.relative_to(project).as_posix() if inside else str(folder)


def _pin_hub_model(name: str, revision: str | None) -> PinnedModel:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"model.model_name_or_path={name}"
    try:
        folder = Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=list(MODEL_PATTERNS),
                ignore_patterns=list(IGNORED_PATTERNS),
                token=os.environ.get("HF_TOKEN") or None,
            )
        )
    except GatedRepoError as err:
        raise RequestError(
            message="access to this model is asked for on its page and has not been granted to you",
            where=where,
            hint=f"ask at https://huggingface.co/{name}, then set HF_TOKEN or run `hf auth login`",
        ) from err
    except RevisionNotFoundError as err:
        raise RequestError(
            message=f"the hub has no revision {revision!r} of it",
            where=where,
            hint=f"see https://huggingface.co/{name}/commits/main",
        ) from err
    except RepositoryNotFoundError as err:
        raise RequestError(
            message="neither a folder here nor a model that the hub shows to you",
            where=where,
            allowed="a model folder or a hub id such as Qwen/Qwen2.5-0.5B",
            hint="check the spelling; private and gated models need HF_TOKEN or `hf auth login`",
        ) from err
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as err:
        raise RunError(
            message=f"the hub does not answer and the model is not cached ({type(err).__name__})",
            where=where,
            hint="connect, or download the model and name its folder; see docs/troubleshooting.md",
        ) from None  # its text may hold a signed URL, and Prefect keeps the log of causes
    _list_model_files(folder, where)
    # The snapshot's folder bears the commit hash, which stands for the content.
    return PinnedModel(name=name, revision=folder.name, location=_describe_place(folder))
