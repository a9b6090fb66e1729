"""The documentation says what is there: variables, commands, files, links."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from configs.schema import FormatName
from flows.cli import app
from tasks.formatting.rows.formats import Conversation, detect_format, parse_row

ROOT = Path(__file__).resolve().parents[1]
# Set by hone for the libraries under it, or read for their sake; nobody needs to set them.
NOT_FOR_USERS = {
    "DO_NOT_TRACK", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE",
    "LOCAL_RANK", "PREFECT_HOME", "PREFECT_LOGGING_EXTRA_LOGGERS", "PREFECT_LOGGING_LEVEL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH",
    "PREFECT_SERVER_ANALYTICS_ENABLED", "PREFECT_UI_ENABLED", "PYTHONDONTWRITEBYTECODE",
    "PYTHONPATH", "RANK", "RAY_USAGE_STATS_ENABLED",
    "TOKENIZERS_PARALLELISM", "TRANSFORMERS_NO_ADVISORY_WARNINGS", "TRANSFORMERS_OFFLINE",
}  # fmt: skip


def list_sources() -> list[Path]:
    return sorted(p for name in ("configs", "flows", "tasks") for p in (ROOT / name).rglob("*.py"))


def list_commands() -> list[str]:
    groups = {"": app} | {
        f"{group.typer_instance.info.name} ": group.typer_instance
        for group in app.registered_groups
        if group.typer_instance
    }
    return sorted(
        f"{prefix}{command.name or getattr(command.callback, '__name__', '')}"
        for prefix, group in groups.items()
        for command in group.registered_commands
    )


def find_variables(path: Path) -> set[str]:
    """Return the environment variables that a source reads."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and "environ" in ast.unparse(node.func) and node.args:
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                found.add(argument.value)
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            found.add(ast.literal_eval(node.slice) if isinstance(node.slice, ast.Constant) else "")
    return found - {""}


def test_every_variable_is_in_the_example() -> None:
    example = set(re.findall(r"^# ([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    read = {name for path in list_sources() for name in find_variables(path)}
    assert read - NOT_FOR_USERS <= example
    assert {"HONE_HOME", "HF_TOKEN", "MLFLOW_TRACKING_URI"} <= example


@pytest.mark.parametrize("command", list_commands())
def test_every_command_is_documented(command: str) -> None:
    texts = [path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
    assert any(f"hone {command}" in text for text in texts)


@pytest.mark.parametrize(
    "page",
    ["README.md", *[f"docs/{n}" for n in (
        "data.md", "decision.md", "experiments.md", "operations.md", "serving.md",
        "troubleshooting.md",
    )]],
)  # fmt: skip
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


def test_map_names_existing_files() -> None:
    text = (ROOT / "README.md").read_text()
    table = text[text.index("## The map") : text.index("## What it writes")]
    for name in re.findall(r"`([a-z_]+/[a-z_/.]*)`", table):
        assert (ROOT / name).exists(), name


def test_no_hint_installs_the_other_package() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    wrong = "pip install " + "hone"
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".sh", ""} and path.is_file():
            text = path.read_text(encoding="utf-8", errors="ignore")
            assert wrong not in text.replace(f"{wrong}-finetune", ""), name


def list_example_rows() -> list[tuple[str, str]]:
    """Return each example row of docs/data.md with the format that its heading names."""
    text = (ROOT / "docs" / "data.md").read_text()
    sections = re.findall(r"^### `([a-z-]+)`$(.*?)(?=^##)", text, re.MULTILINE | re.DOTALL)
    return [
        (name, row)
        for name, section in sections
        for block in re.findall(r"```json\n(.*?)```", section, re.DOTALL)
        for row in block.splitlines()
    ]


@pytest.mark.parametrize(("name", "row"), list_example_rows())
def test_every_example_row_is_of_its_format(name: FormatName, row: str) -> None:
    values = json.loads(row)
    assert detect_format(values) == name
    assert isinstance(parse_row(values, name, {}, None), Conversation)


def test_every_format_has_an_example_row() -> None:
    assert {name for name, _ in list_example_rows()} == set(get_args(FormatName))
