import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import RequestError
from configs.load import (
    apply_overrides,
    check_config,
    dump_config,
    list_presets,
    load_config,
)
from configs.presets import PRESET_FOLDER, list_preset_names
from configs.schema import RunConfig

TOKEN = "hf_" + "aBcDeFgH" * 4
SIZES = {
    "llama2-7b-lora": (16, 32, 4, 4),
    "llama2-13b-lora": (32, 64, 2, 8),
    "llama2-70b-qlora": (64, 128, 1, 16),
    "llama3-8b-lora": (16, 32, 4, 4),
}


def write(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def reload_dump(config: RunConfig, folder: Path) -> RunConfig:
    return load_config(write(folder, dump_config(config), "config.yaml"))


@pytest.mark.parametrize("name", list_preset_names())
def test_preset_loads_and_round_trips(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    assert reload_dump(config, tmp_path) == config
    assert check_config(config.model_dump(mode="json")) == config
    lakefs = "lakefs://hone/main/flowroll"
    assert config.data.source == (lakefs if name == "tiny-lakefs" else "data/flowroll")
    assert config.publish.name.startswith("flowroll-")


@pytest.mark.parametrize("name", list_preset_names())
def test_preset_of_a_bare_base_names_a_template_that_is_built_in(name: str) -> None:
    model = load_config(name).model
    if "llama2" in name or "gpt2" in name:
        assert model.chat_template == "alpaca"
    built_in = PRESET_FOLDER.parent / "tasks" / "formatting" / "rendering" / "templates"
    assert model.chat_template is None or (built_in / f"{model.chat_template}.jinja").is_file()


def test_presets_have_names_and_purposes_of_their_own() -> None:
    presets = list_presets()
    assert [preset.name for preset in presets] == list_preset_names()
    assert len({preset.purpose for preset in presets}) == len(presets)
    assert all(preset.purpose for preset in presets)
    models = [load_config(preset.name).publish.name for preset in presets]
    assert len(set(models)) == len(models)


def test_presets_of_the_issue_are_there() -> None:
    asked = {
        "tiny", "tiny-qlora", "tiny-full", "llama3-8b-lora", "llama3-3b-lora", "llama3-8b-qlora",
        "llama2-7b-lora", "llama2-13b-lora", "llama2-70b-qlora", "mistral-7b-lora", "qwen2.5-0.5b",
        "gpt2-full",
    }  # fmt: skip
    assert asked <= set(list_preset_names())


@pytest.mark.parametrize("name", SIZES)
def test_llama_presets_have_the_usual_sizes(name: str) -> None:
    model, training = load_config(name).model, load_config(name).training
    batch = training.per_device_train_batch_size, training.gradient_accumulation_steps
    assert (model.lora_r, model.lora_alpha, *batch) == SIZES[name]
    assert (model.lora_dropout, training.max_length) == (0.05, 2048)


@pytest.mark.parametrize(
    ("override", "section", "name", "value"),
    [
        ("training.learning_rate=1e-4", "training", "learning_rate", 1e-4),
        ("training.seed = 7", "training", "seed", 7),
        ("training.packing=false", "training", "packing", False),
        ("training.early_stopping_patience=null", "training", "early_stopping_patience", None),
        ("training.gradient_checkpointing=on", "training", "gradient_checkpointing", "on"),
        ("model.lora_target_modules=[q_proj, v_proj]", "model", "lora_target_modules",
         ("q_proj", "v_proj")),
        ("model.lora_target_modules=all-linear", "model", "lora_target_modules", "all-linear"),
        ("model.model_revision=1234567", "model", "model_revision", "1234567"),
        ("data.pattern=*.jsonl", "data", "pattern", "*.jsonl"),
        ("data.pattern=[ab]*.jsonl", "data", "pattern", "[ab]*.jsonl"),
        ("data.pattern=", "data", "pattern", None),
        ("data.system_prompt=Rule: a=b # c", "data", "system_prompt", "Rule: a=b # c"),
        ("data.system_prompt='null'", "data", "system_prompt", "null"),
        ("data.roles={bot: assistant}", "data", "roles", {"bot": "assistant"}),
        ("data.roles.bot=assistant", "data", "roles", {"bot": "assistant"}),
        ("gate.primary_metrics=[nll]", "gate", "primary_metrics", ("nll",)),
    ],
)  # fmt: skip
def test_override_gets_the_type_of_its_field(
    override: str, section: str, name: str, value: object
) -> None:
    found = getattr(getattr(load_config("tiny", [override]), section), name)
    assert found == value
    assert type(found) is type(value)


def test_later_override_wins_and_leaves_the_rest() -> None:
    config = load_config("tiny", ["training.seed=1", "training.seed=2"])
    assert config.training.seed == 2
    assert config.training.max_length == load_config("tiny").training.max_length


@pytest.mark.parametrize("override", ["training.seed", "=3", "training.=3", ".seed=3", ""])
def test_override_without_key_or_value_is_refused(override: str) -> None:
    with pytest.raises(RequestError, match=r"write --set KEY=VALUE") as caught:
        load_config("tiny", [override])
    assert caught.value.where.startswith("--set")


def test_errors_name_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, "extends: tiny\ntraining:\n  seed: 1\n  learning_rate: -1\n")
    with pytest.raises(RequestError) as caught:
        load_config(path)
    assert str(caught.value) == (
        f"{path}:4: training.learning_rate: found -1; allowed: a number >= 0"
    )
    assert caught.value.exit_code == 3


def test_error_in_an_extended_file_names_that_file(tmp_path: Path) -> None:
    base = write(tmp_path, "training:\n  seed: soon\n", "base.yaml")
    path = write(tmp_path, "extends: base.yaml\ntraining:\n  max_length: 9\n")
    with pytest.raises(RequestError) as caught:
        load_config(path)
    assert caught.value.where == f"{base}:2"


def test_several_errors_are_listed_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "model:\n  lora_rank: 8\n  method: LoRa\ntraining:\n  seed: -1\n")
    with pytest.raises(RequestError) as caught:
        load_config(path, ["training.learning_rat=1"])
    assert caught.value.message == "4 errors"
    assert caught.value.where == f"preset {path}"
    assert sorted(caught.value.problems) == [
        "--set training.learning_rat: unknown key; did you mean training.learning_rate?",
        f"{path}:2: model.lora_rank: a key of another system; write model.lora_r",
        f'{path}:3: model.method: found "LoRa"; allowed: lora, qlora, full; did you mean lora?',
        f"{path}:5: training.seed: found -1; allowed: a whole number >= 0",
    ]


def test_values_that_are_wrong_together_name_the_place_of_one() -> None:
    with pytest.raises(RequestError, match="must leave training rows") as caught:
        load_config("tiny", ["data.test_fraction=0.95"])
    assert caught.value.where == "--set data.test_fraction"


@pytest.mark.parametrize(
    "override",
    [
        f"hub_token={TOKEN}",
        f"publish.api_key={TOKEN}",
        f"data.system_prompt=say {TOKEN}",
        f"training.seed={TOKEN}",
        f"model.lora_target_modules=[{TOKEN}]",
        "data.source=lakefs://user:hunter2@host/main",
        "password=hunter2",
        TOKEN,
    ],
)
def test_secret_is_refused_and_never_repeated(override: str) -> None:
    with pytest.raises(RequestError) as caught:
        load_config("tiny", [override])
    error = caught.value
    shown = f"{error} {error.to_dict()} {error.__cause__!r} {error.__context__!r}"
    assert TOKEN not in shown
    assert "hunter2" not in shown


def test_secret_in_broken_yaml_is_not_repeated(tmp_path: Path) -> None:
    path = write(tmp_path, f"publish:\n  name: x: {TOKEN}\n")
    with pytest.raises(RequestError, match="not YAML") as caught:
        load_config(path)
    assert TOKEN not in str(caught.value)
    assert caught.value.where == f"{path}:2"


def test_apply_overrides_replaces_by_dotted_key() -> None:
    config = apply_overrides(
        load_config("tiny"), {"training.learning_rate": "1e-4", "data.roles": {"bot": "assistant"}}
    )
    assert config.training.learning_rate == 1e-4
    assert config.data.roles == {"bot": "assistant"}
    assert config.model == load_config("tiny").model


def test_apply_overrides_translates_errors() -> None:
    with pytest.raises(RequestError) as caught:
        apply_overrides(load_config("tiny"), {"training.lr": 1, "training.seed": -1})
    assert caught.value.problems == (
        "training.seed: found -1; allowed: a whole number >= 0",
        "training.lr: a key of another system; write training.learning_rate",
    )


def test_check_config_names_keys() -> None:
    with pytest.raises(RequestError) as caught:
        check_config({"training": {"packing": "maybe"}})
    assert str(caught.value) == 'training.packing: found "maybe"; allowed: true or false'
    assert check_config({}) == RunConfig()


def test_section_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(RequestError, match=r"publish: found 5; allowed: a mapping of name, "):
        check_config({"publish": 5})


text = st.text(st.characters(exclude_categories=["Cs"]))


@settings(deadline=None, max_examples=60)
@given(prompt=text, roles=st.dictionaries(text, text, max_size=3), rate=st.floats(0, 1e3))
def test_any_config_round_trips(
    tmp_path_factory: pytest.TempPathFactory, prompt: str, roles: dict[str, str], rate: float
) -> None:
    values = {"data": {"system_prompt": prompt, "roles": roles}}
    config = check_config(values | {"training": {"learning_rate": rate}})
    assert reload_dump(config, tmp_path_factory.getbasetemp()) == config


def test_json_of_a_config_is_a_preset(tmp_path: Path) -> None:
    values = load_config("tiny").model_dump(mode="json") | {"paths_from": "clone"}
    path = write(tmp_path, json.dumps(values, indent="\t"), "config.json")
    assert load_config(path) == load_config("tiny")


def test_loading_imports_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "datasets", "prefect", "mlflow", "peft", "numpy", "rich"}
    code = (
        "import sys; from configs.load import list_presets; list_presets(); "
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PRESET_FOLDER.parent,
        check=True,
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip() == "[]"
