"""The `hone data` group as a whole: its help, its errors, how little it imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows.data_cli import data_app
from tests.flows.conftest import CallHone
from tests.flows.running import make_environment

COMMANDS = ("inspect", "convert", "split", "push", "diff", "watch")


def test_the_group_has_exactly_these_commands() -> None:
    assert tuple(command.name for command in data_app.registered_commands) == COMMANDS


def test_the_group_alone_shows_its_commands(call_hone: CallHone) -> None:
    outcome = call_hone("data")
    assert outcome.code == 0
    assert outcome.stdout == call_hone("data", "--help").stdout
    for command in COMMANDS:
        assert f"  {command} " in outcome.stdout


@pytest.mark.parametrize("command", [("data", name) for name in COMMANDS] + [("explain",)])
def test_every_command_explains_itself(call_hone: CallHone, command: tuple[str, ...]) -> None:
    outcome = call_hone(*command, "--help")
    assert outcome.code == 0
    assert "--json" in outcome.stdout
    assert "Exit codes" in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("data", "inspekt"), "inspekt"),
        (("data", "split", "rows.jsonl"), "--output"),
        (("data", "split", "rows.jsonl", "--output", "x", "--train", "101"), "--train"),
        (("data", "diff", "a"), "SECOND"),
    ],
)
def test_a_wrong_use_is_one_error(
    call_hone: CallHone, arguments: tuple[str, ...], words: str
) -> None:
    outcome = call_hone(*arguments, "--json")
    assert outcome.code == 3
    error = outcome.result["error"]
    assert words.lower() in error["message"].lower()
    assert "--help" in error["hint"]


def test_the_help_imports_little(tmp_path: Path) -> None:
    code = (
        "import json, sys; from flows.cli import main\n"
        "try: main()\n"
        "finally: print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, "data", "inspect", "--help"], cwd=tmp_path, check=True,
        env=make_environment(tmp_path), capture_output=True, text=True,
    )  # fmt: skip
    heavy = {"prefect", "torch", "mlflow", "numpy", "lakefs", "datasets"}  # typer has pydantic
    assert not heavy & set(json.loads(shown.stderr))
