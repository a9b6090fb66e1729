"""Presets that are written: they load to what they were written from."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.load import load_config
from configs.preset_files import dump_preset

CHANGES = {
    "settings": ["training.learning_rate=3e-4", "model.lora_target_modules=[q_proj, v_proj]"],
    "nothing": [],
    "a path in the clone": [
        "data.source={clone}/data/flowroll/eval/dev.jsonl",
        "data.pattern=null",
    ],
    "null": ["training.early_stopping_patience=null"],
}


@pytest.mark.parametrize("overrides", CHANGES.values(), ids=CHANGES)
def test_a_written_preset_loads_to_what_it_was_written_from(
    tmp_path: Path, overrides: list[str]
) -> None:
    clone = Path(__file__).resolve().parents[2]
    config = load_config("tiny", [text.format(clone=clone) for text in overrides])
    (tmp_path / "best.yaml").write_text(dump_preset(config, "tiny"), encoding="utf-8")
    assert load_config(str(tmp_path / "best.yaml")) == config


def test_only_what_differs_is_written() -> None:
    text = dump_preset(load_config("tiny", ["model.lora_r=4"]), "tiny")
    assert text == "extends: tiny\nmodel:\n  lora_r: 4\n"


def test_a_preset_of_one_s_own_is_extended_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("extends: tiny\nmodel: {lora_r: 4}\n", encoding="utf-8")
    config = load_config("mine.yaml", ["training.seed=1"])
    (tmp_path / "sub").mkdir()
    best = tmp_path / "sub" / "best.yaml"
    best.write_text(dump_preset(config, "mine.yaml"), encoding="utf-8")
    assert load_config(str(best)) == config
