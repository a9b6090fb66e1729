import doctest
import importlib

import pytest

from configs.fields import list_fields, list_sections
from configs.schema import RunConfig

DOCTESTED = ("fields", "layers", "secret_values", "documentation")


def test_fields_are_those_of_the_schema() -> None:
    config = RunConfig()
    expected = ["purpose"]
    for section in RunConfig.model_fields:
        if section != "purpose":
            expected += [
                f"{section}.{name}" for name in type(getattr(config, section)).model_fields
            ]
    assert list(list_fields()) == expected


def test_fields_have_a_meaning_and_allowed_values() -> None:
    for key, field in list_fields().items():
        assert field.meaning.endswith("."), key
        assert field.allowed, key


def test_sections_have_a_meaning() -> None:
    assert all(section.meaning for section in list_sections())


def test_defaults_are_those_of_the_schema() -> None:
    dumped = RunConfig().model_dump(mode="json")
    for field in list_fields().values():
        value = dumped[field.section][field.name] if field.section else dumped[field.name]
        assert field.default == value


@pytest.mark.parametrize("name", DOCTESTED)
def test_examples_in_docstrings_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"configs.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
