"""Find the published adapter that a training starts from, and refuse one that does not fit it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from configs.errors import RequestError
from configs.load import apply_overrides
from configs.schema import ModelConfig, RunConfig
from tasks.publishing import local
from tasks.publishing.registry import find_champion, find_version_folder
from tasks.records.digests import digest_files, digest_value
from tasks.records.handles import DataVersion, FormattedData
from tasks.records.writing import read_json

LOG = logging.getLogger("hone")
KEY = "training.init_adapter"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
SAME = {
    "r": "lora_r", "lora_alpha": "lora_alpha", "use_rslora": "use_rslora", "use_dora": "use_dora",
    "bias": "lora_bias",
}  # fmt: skip
"""Fields of an adapter's own config, and the keys of `model` that must agree with them."""


@dataclass(frozen=True)
class StartAdapter:
    """An adapter that a training starts from."""

    folder: Path
    digest: str
    """Of its weights and its own config."""


def start_from_champion(config: RunConfig) -> RunConfig:
    """Return the configuration with the champion of its name as the adapter to start from.

    The version is named, so that what is trained does not change when the champion does. Where
    nothing is published yet, it starts anew.
    """
    champion = find_champion(config.publish.name)
    if champion is None:
        LOG.info("train: nothing is published as %s: a new adapter", config.publish.name)
        return config
    return apply_overrides(config, {KEY: f"models:/{champion.name}/{champion.version}"})


def find_start(config: RunConfig) -> StartAdapter | None:
    """Return the adapter that a training starts from; None for a new one.

    Raises:
        RequestError: There is no such version, or it has no adapter.
    """
    uri = config.training.init_adapter
    if uri is None:
        return None
    name, version = uri.removeprefix("models:/").split("/")
    folder = local.find_version_path(name, version)
    if local.verify_artefact(folder):
        folder = find_version_folder(uri)
    files = [ADAPTER_CONFIG, ADAPTER_WEIGHTS]
    if missing := [file for file in files if not (folder / file).is_file()]:
        raise RequestError(
            where=KEY,
            message=f"{uri} has no {missing[0]}: all of its weights are its own",
            allowed="a version that is an adapter",
        )
    return StartAdapter(folder, digest_value(digest_files(folder, files)))


def check_start(data: DataVersion, formatted: FormattedData, config: RunConfig) -> None:
    """Refuse an adapter that another training made, or that has seen what would test it.

    Raises:
        RequestError: Base, rank, scale or modules differ, or it was trained on an evaluation row.
    """
    start = find_start(config)
    if start is None:
        return
    found = read_json(start.folder / ADAPTER_CONFIG)
    problems = list_differences(found, config.model)
    if found.get("revision") not in {None, data.base.revision}:
        problems.append(
            f"base: {data.base.revision[:12]}, the adapter's is {found['revision'][:12]}"
        )
    if problems:
        raise RequestError(
            where=KEY,
            message=f"{config.training.init_adapter} does not fit the adapter that is asked for",
            allowed="a version of the same base, rank, scale and modules",
            hint="set them as that version has them, or start anew",
            problems=tuple(problems),
        )
    check_unseen(formatted, start.folder, str(config.training.init_adapter))


def list_differences(found: dict[str, object], model: ModelConfig) -> list[str]:
    """Return what an adapter has that a training would make otherwise; a line for each."""
    wanted = {own: getattr(model, key) for own, key in SAME.items()}
    names = {own: f"model.{key}" for own, key in SAME.items()}
    own = {name: found.get(name) for name in wanted}
    lists = {"modules_to_save": model.lora_modules_to_save}
    if isinstance(model.lora_target_modules, tuple):
        lists["target_modules"] = model.lora_target_modules
    for name, modules in lists.items():
        names[name] = f"model.lora_{name}"
        wanted[name], own[name] = shorten_names(modules), shorten_names(found.get(name))
    return [
        f"{names[name]}: {wanted[name]!r}, the adapter's is {own[name]!r}"
        for name in wanted
        if wanted[name] != own[name]
    ]


def shorten_names(modules: object) -> list[str]:
    """Return the last parts of modules' names, sorted: peft adds the whole names of tied ones.

    >>> shorten_names(["embed_tokens", "model.embed_tokens"]), shorten_names(None)
    (['embed_tokens'], [])
    """
    names = modules if isinstance(modules, list | tuple) else ()
    return sorted({str(name).rpartition(".")[2] for name in names})


def check_unseen(formatted: FormattedData, folder: Path, uri: str) -> None:
    """Require that an adapter was trained on no row that its successor is judged by.

    Raises:
        RequestError: Naming the set and how many of its rows it has seen.
    """
    from tasks.formatting.rows.examples import digest_prompt, iter_examples

    trained = local.read_training_prompts(folder)
    for split in sorted(set(formatted.splits) - {"train"}):
        rows = iter_examples(formatted.folder / "examples" / f"{split}.jsonl")
        seen = sum(digest_prompt(row.messages, row.text) in trained for row in rows)
        if seen:
            raise RequestError(
                where=KEY,
                message=f"{uri} was trained on {seen} of the {formatted.splits[split].rows} rows "
                f"of {split}, by which its successor would be judged",
                hint="keep data.source and data.split_version, or start anew",
            )
