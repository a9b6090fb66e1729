from pathlib import Path

import pytest

from configs.load import apply_overrides, check_config, load_config
from configs.paths import CLONE, hold_base, hold_path, resolve_base, resolve_path


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_path_in_a_preset_starts_at_the_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own" / "base").mkdir(parents=True)
    preset = write(
        tmp_path / "own" / "preset.yaml",
        "data: {source: ./rows, eval_sources: {golden: g.jsonl, far: 'lakefs://r/main/x'}}\n"
        "model: {model_name_or_path: base, chat_template: t/mine.jinja}\n",
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = load_config(preset)
    own = (tmp_path / "own").resolve()
    assert config.data.source == str(own / "rows")
    assert config.data.eval_sources == {"golden": str(own / "g.jsonl"), "far": "lakefs://r/main/x"}
    assert config.model.model_name_or_path == str(own / "base")
    assert config.model.chat_template == str(own / "t/mine.jinja")


def test_path_of_set_starts_at_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config("tiny", ["data.source=rows", "data.eval_sources.golden=../g.jsonl"])
    assert config.data.source == str(tmp_path.resolve() / "rows")
    assert config.data.eval_sources == {"golden": str(tmp_path.resolve().parent / "g.jsonl")}
    assert config.model.model_name_or_path == "data/tiny-base"


def test_inherited_path_keeps_its_start(tmp_path: Path) -> None:
    write(tmp_path / "team" / "base.yaml", "data: {source: rows}\n")
    preset = write(tmp_path / "me" / "mine.yaml", "extends: ../team/base.yaml\n")
    assert load_config(preset).data.source == str(tmp_path.resolve() / "team" / "rows")


def test_path_in_the_clone_is_held_relative_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CLONE / "data")
    config = load_config("tiny", ["data.source=flowroll/train.jsonl"])
    assert config.data.source == "data/flowroll/train.jsonl"
    assert resolve_path(config.data.source) == CLONE / "data/flowroll/train.jsonl"


def test_values_from_elsewhere_start_at_the_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert check_config({"data": {"source": "data/x"}}).data.source == "data/x"
    held = apply_overrides(load_config("tiny"), {"data.source": "data/x"})
    assert resolve_path(held.data.source) == CLONE / "data/x"


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hold_path("~/rows", CLONE) == str(tmp_path / "rows")


@pytest.mark.parametrize("hub_id", ["gpt2", "Qwen/Qwen2.5-0.5B-Instruct"])
def test_hub_id_stays(hub_id: str, tmp_path: Path) -> None:
    assert hold_base(hub_id, tmp_path) == hub_id
    assert resolve_base(hub_id) == hub_id


def test_missing_base_folder_never_becomes_a_hub_id() -> None:
    held = hold_base("../data/no-such-base", CLONE / "configs")
    assert held == str(CLONE / "data/no-such-base")
    assert resolve_base(held) == CLONE / "data/no-such-base"


def test_base_folder_in_the_clone_is_found_again() -> None:
    held = hold_base("../data/flowroll", CLONE / "configs")
    assert held == "data/flowroll"
    assert resolve_base(held) == CLONE / "data/flowroll"


def test_linked_folder_is_recognised_as_the_clone(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(CLONE)
    assert load_config(str(link / "configs" / "tiny.yaml")) == load_config("tiny")
