from pathlib import Path

import pytest

from configs.errors import RequestError
from configs.load import load_config
from configs.presets import list_preset_names


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return name


def test_unknown_preset_lists_names_and_the_nearest() -> None:
    with pytest.raises(RequestError) as caught:
        load_config("llama3-8b-lra")
    error = caught.value
    assert error.message == 'no preset "llama3-8b-lra"'
    assert all(name in error.allowed for name in list_preset_names())
    assert error.hint.startswith("did you mean llama3-8b-lora,")


def test_missing_file_is_named() -> None:
    with pytest.raises(RequestError, match=r'no preset "my/tiny.yaml": there is no such file'):
        load_config("my/tiny.yaml")


def test_folder_and_foreign_file_are_named() -> None:
    write("mine/preset.yaml", "extends: tiny\n")
    with pytest.raises(RequestError, match="that is a folder"):
        load_config("mine")
    with pytest.raises(RequestError, match="without one of the endings"):
        load_config(write("mine/preset.txt", "extends: tiny\n"))


def test_mappings_merge_deep_and_lists_are_replaced() -> None:
    write("a.yaml", "data: {roles: {bot: assistant}}\nmodel: {lora_modules_to_save: [x, y]}\n")
    write("b.yaml", "extends: a.yaml\ndata: {roles: {human: user}}\n")
    write("c.json", '{"extends": "b.yaml", "model": {"lora_modules_to_save": ["z"]}}')
    config = load_config("c.json")
    assert config.data.roles == {"bot": "assistant", "human": "user"}
    assert config.model.lora_modules_to_save == ("z",)


def test_extended_path_starts_at_the_file() -> None:
    write("deep/base.yaml", "training: {seed: 5}\n")
    write("deep/mine.yaml", "extends: ./base.yaml\n")
    assert load_config("deep/mine.yaml").training.seed == 5


def test_circle_names_its_chain() -> None:
    write("a.yaml", "extends: b.yaml\n")
    write("b.yaml", "purpose: b\nextends: c.yaml\n")
    write("c.yaml", "extends: a.yaml\n")
    with pytest.raises(RequestError) as caught:
        load_config("a.yaml")
    assert caught.value.message == "extends goes in a circle: a.yaml -> b.yaml -> c.yaml -> a.yaml"
    assert caught.value.where == "c.yaml:1"


def test_extending_oneself_is_a_circle() -> None:
    with pytest.raises(RequestError, match="circle"):
        load_config(write("a.yaml", "extends: ./a.yaml\n"))


def test_unknown_extended_preset_names_the_line() -> None:
    with pytest.raises(RequestError, match='no preset "tinny"') as caught:
        load_config(write("a.yaml", "purpose: x\nextends: tinny\n"))
    assert caught.value.where == "a.yaml:2"


@pytest.mark.parametrize("value", ["[tiny, gpt2-full]", "", "{a: b}"])
def test_extends_takes_one_name(value: str) -> None:
    with pytest.raises(RequestError, match="extends: found no name"):
        load_config(write("a.yaml", f"extends: {value}\n"))


def test_preset_keys_are_refused_elsewhere() -> None:
    with pytest.raises(RequestError, match="at the top of a preset file only"):
        load_config("tiny", ["extends=tiny-full"])
    with pytest.raises(RequestError, match=r"a.yaml:1: extend: unknown key; did you mean extends"):
        load_config(write("a.yaml", "extend: tiny\n"))


def test_wrong_paths_from_is_refused() -> None:
    with pytest.raises(RequestError, match=r'a.yaml:1: paths_from: found "here"; allowed: file'):
        load_config(write("a.yaml", "paths_from: here\n"))
