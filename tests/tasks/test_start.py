"""An adapter to start from: found, and refused where it does not fit or has seen the test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from configs.errors import RequestError
from configs.load import apply_overrides, load_config
from configs.schema import RunConfig
from tasks.format import format_version
from tasks.publishing import local
from tasks.records.digests import digest_files, list_files
from tasks.records.handles import DataVersion, FormattedData
from tasks.records.observer import SilentObserver
from tasks.records.writing import write_json, write_text
from tasks.start import check_start, find_start
from tasks.version import pin_inputs
from tests.flows.running import write_project

URI = "models:/small/1"


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return load_config(str(write_project(tmp_path)), [f"training.init_adapter={URI}"])


@pytest.fixture
def inputs(config: RunConfig, home: Path) -> tuple[DataVersion, FormattedData]:
    data = pin_inputs(config.data, config.model)
    return data, format_version(data, config, SilentObserver())


def publish(revision: str, prompts: str = "", **fields: object) -> Path:
    """Put a version in place that is an adapter."""
    folder = local.find_version_path("small", "1")
    shutil.rmtree(folder, ignore_errors=True)
    adapter = {
        "r": 16, "lora_alpha": 32, "use_rslora": False, "use_dora": False, "bias": "none",
        "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "model.embed_tokens"],
        "revision": revision,
    }  # fmt: skip
    write_json(folder / "adapter_config.json", adapter | fields)
    write_text(folder / "adapter_model.safetensors", "weights")
    write_text(folder / local.TRAINING_PROMPTS, prompts)
    write_json(folder / local.DIGESTS, digest_files(folder, list_files(folder)))
    return folder


def test_one_that_fits_is_found(
    config: RunConfig, inputs: tuple[DataVersion, FormattedData]
) -> None:
    folder = publish(inputs[0].base.revision)
    check_start(*inputs, config)
    found = find_start(config)
    assert found is not None
    assert found.folder == folder
    publish(inputs[0].base.revision, bias="all")
    other = find_start(config)
    assert other is not None
    assert other.digest != found.digest
    assert find_start(apply_overrides(config, {"training.init_adapter": None})) is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"r": 8}, "model.lora_r: 16, the adapter's is 8"),
        ({"lora_alpha": 16}, "model.lora_alpha: 32, the adapter's is 16"),
        ({"modules_to_save": None}, "model.lora_modules_to_save"),
        ({"revision": "f" * 40}, "the adapter's is ffffffffffff"),
    ],
)
def test_another_training_is_refused(
    config: RunConfig,
    inputs: tuple[DataVersion, FormattedData],
    fields: dict[str, object],
    words: str,
) -> None:
    publish(**({"revision": inputs[0].base.revision} | fields))  # type: ignore[arg-type]
    with pytest.raises(RequestError) as caught:
        check_start(*inputs, config)
    assert words in " ".join(caught.value.problems)


def test_named_targets_must_be_those_of_the_adapter(
    config: RunConfig, inputs: tuple[DataVersion, FormattedData]
) -> None:
    publish(inputs[0].base.revision)
    check_start(*inputs, apply_overrides(config, {"model.lora_target_modules": ["q_proj"]}))
    with pytest.raises(RequestError):
        check_start(*inputs, apply_overrides(config, {"model.lora_target_modules": ["v_proj"]}))


def test_one_that_was_trained_on_the_test_rows_is_refused(
    config: RunConfig, inputs: tuple[DataVersion, FormattedData]
) -> None:
    from tasks.formatting.rows.examples import digest_prompt, iter_examples

    rows = iter_examples(inputs[1].folder / "examples" / "test.jsonl")
    prompts = [digest_prompt(row.messages, row.text) for row in rows]
    publish(inputs[0].base.revision, "".join(f"{prompt}\n" for prompt in prompts[:3]))
    with pytest.raises(RequestError, match="was trained on 3 of the 40 rows of test"):
        check_start(*inputs, config)


def test_one_that_is_not_there_or_has_no_adapter_is_refused(
    config: RunConfig, inputs: tuple[DataVersion, FormattedData]
) -> None:
    with pytest.raises(RequestError):
        find_start(config)
    folder = publish(inputs[0].base.revision)
    (folder / "adapter_config.json").unlink()
    write_json(
        folder / local.DIGESTS,
        digest_files(folder, [local.TRAINING_PROMPTS, "adapter_model.safetensors"]),
    )
    with pytest.raises(RequestError, match="has no adapter_config"):
        find_start(config)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.init_adapter=models:/small@champion", "training.init_adapter"),
        ("model.method=full", "has no meaning with model.method: full"),
    ],
)
def test_what_it_does_not_go_with_is_refused(tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        load_config(str(write_project(tmp_path)), [f"training.init_adapter={URI}", override])
    assert words in str(caught.value)


def test_a_version_inherits_the_prompts_of_what_it_started_from(home: Path) -> None:
    publish("r", "one\ntwo\n")
    config = {"training": {"init_adapter": URI}}
    assert local.read_inherited_prompts(config) == {"one", "two"}
    assert local.read_inherited_prompts({"training": {}}) == frozenset()
