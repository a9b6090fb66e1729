"""Search spaces: what they may hold, and one clear error where they hold something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import RequestError
from configs.load import load_config
from configs.schema import RunConfig
from configs.search_space import Space, check_space, read_space

SPACE = """\
training.learning_rate: {type: loguniform, low: 1e-4, high: 1e-2}
training.num_train_epochs: {type: int, low: 1, high: 4}
model:
  lora_r: {type: choice, values: [4, 8]}
  lora_target_modules: {type: choice, values: [all-linear, [q_proj, v_proj]]}
"""


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return load_config("tiny")


def read(folder: Path, text: str, config: RunConfig, *choices: str) -> Space:
    path = folder / "space.yaml"
    path.write_text(text, encoding="utf-8")
    layer, subject = read_space(path, choices)
    return check_space(layer, config, subject)


def test_a_space_is_read_with_types_and_bounds(tmp_path: Path, config: RunConfig) -> None:
    space = read(tmp_path, SPACE, config)
    assert [(d.key, d.kind) for d in space] == [
        ("model.lora_r", "choice"),
        ("model.lora_target_modules", "choice"),
        ("training.learning_rate", "loguniform"),
        ("training.num_train_epochs", "int"),
    ]
    assert (space[2].low, space[2].high) == (1e-4, 1e-2)
    assert space[1].values == ("all-linear", ["q_proj", "v_proj"])


def test_choices_of_the_command_line_replace_those_of_the_file(
    tmp_path: Path, config: RunConfig
) -> None:
    space = read(tmp_path, SPACE, config, "training.learning_rate=1e-3,2e-3")
    assert [d.values for d in space if d.key == "training.learning_rate"] == [("1e-3", "2e-3")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("training.learning_rat: {type: uniform, low: 0, high: 1}", "learning_rate"),
        ("training.learning_rate: {type: normal, low: 0, high: 1}", "loguniform"),
        ("training.learning_rate: {type: uniform, low: 1, high: 0}", "not below high"),
        ("training.learning_rate: {type: loguniform, low: 0, high: 1}", "above 0"),
        ("training.learning_rate: {type: uniform, low: -1, high: 1}", "training.learning_rate"),
        ("training.learning_rate: {type: uniform, low: a, high: 1}", "a number"),
        ("training.learning_rate: {type: uniform, low: 0, max: 1}", "high, low"),
        ("training.learning_rate: [1, 2]", "no mapping"),
        ("training.seed: {type: int, low: 1.5, high: 3}", "whole numbers"),
        ("model.lora_r: {type: choice, values: [8]}", "two or more"),
        ("model.lora_r: {type: choice, values: [8, 8]}", "twice"),
        ("model.lora_r: {type: choice, values: [8, many]}", "model.lora_r"),
        ("data.source: {type: choice, values: [a, b]}", "does not vary"),
        ("model.model_name_or_path: {type: choice, values: [a, b]}", "does not vary"),
    ],
)
def test_a_wrong_dimension_is_refused_with_its_place(
    tmp_path: Path, config: RunConfig, line: str, words: str
) -> None:
    with pytest.raises(RequestError) as caught:
        read(tmp_path, f"# a comment\n{line}\n", config)
    assert words in str(caught.value)
    assert caught.value.where.endswith("space.yaml:2")


def test_all_problems_are_named_at_once(tmp_path: Path, config: RunConfig) -> None:
    text = "data.source: {type: choice}\nmodel.lora_r: {type: choice, values: [0, 8]}\n"
    with pytest.raises(RequestError) as caught:
        read(tmp_path, text, config)
    assert [problem.split(": ")[0][-12:] for problem in caught.value.problems] == [
        "space.yaml:1",
        "space.yaml:2",
    ]


def test_a_choice_without_values_is_refused() -> None:
    with pytest.raises(RequestError, match=r"--set-space model\.lora_r: no key and values"):
        read_space(None, ["model.lora_r"])


def test_an_empty_space_is_refused(config: RunConfig) -> None:
    layer, subject = read_space(None)
    with pytest.raises(RequestError, match="nothing varies"):
        check_space(layer, config, subject)
