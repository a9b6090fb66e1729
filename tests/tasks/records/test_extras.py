"""Parts that are not installed by default are named with the extra that brings them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from configs.errors import RequestError
from configs.load import load_config
from tasks.records import extras
from tasks.records.extras import EXTRAS, check_extras, require_package

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]


def test_every_extra_is_in_the_project_and_not_among_its_dependencies() -> None:
    for package, extra in EXTRAS.items():
        assert any(
            package.replace("_", "-") in line for line in PROJECT["optional-dependencies"][extra]
        )
        assert not any(line.startswith(package) for line in PROJECT["dependencies"])


def test_a_missing_package_is_refused_with_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    with pytest.raises(RequestError) as caught:
        require_package("bitsandbytes", where="model.method", needed_for="qlora")
    assert "make install EXTRAS=qlora" in str(caught.value)
    assert "model.method" in str(caught.value)


def test_only_a_config_that_needs_the_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    check_extras(load_config("tiny"))
    with pytest.raises(RequestError, match="bitsandbytes"):
        check_extras(load_config("tiny-qlora"))
