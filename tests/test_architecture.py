"""The layering table: imports run one way, heavy ones happen when a task runs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL = {"flows", "tasks", "deployments", "configs", "data", "tests", "docs", "benchmarks"}
LIBRARIES = (
    "records", "versioning", "formatting", "training", "evaluation", "publishing", "tracking",
)  # fmt: skip

# layer -> the layers of this project that it may import
MAY_IMPORT = {
    "configs": {"configs"},
    "tasks.records": {"configs", "tasks.records"},
    "tasks.versioning": {"configs", "tasks.records", "tasks.versioning"},
    "tasks.tracking": {"configs", "tasks.records", "tasks.tracking"},
    "tasks.formatting": {"configs", "tasks.records", "tasks.formatting"},
    "tasks.training": {"configs", "tasks.records", "tasks.formatting", "tasks.training"},
    "tasks.evaluation": {
        "configs", "tasks.records", "tasks.formatting", "tasks.training", "tasks.evaluation",
    },
    "tasks.publishing": {
        "configs", "tasks.records", "tasks.formatting", "tasks.training", "tasks.evaluation",
        "tasks.publishing", "tasks.tracking",
    },
    "tasks": {"configs", "tasks", *(f"tasks.{name}" for name in LIBRARIES)},
    "flows": {"configs", "tasks", "flows", *(f"tasks.{name}" for name in LIBRARIES)},
    "deployments": {"configs", "flows", "deployments", "tasks", "tasks.records", "tasks.tracking"},
}  # fmt: skip

# What one library may use of another: its public modules.
PUBLIC = {
    "tasks.formatting": {
        "build", "files.readers", "rendering.renderer", "rows.examples", "tokens.packing",
    },
    "tasks.training": {
        "devices", "models", "shared_base", "train", "attention", "collator", "loss", "memory",
        "plan",
    },
    "tasks.evaluation": {
        "evaluate", "generation", "guards", "metrics", "significance", "gate", "looks", "outlook",
        "report", "plots",
    },
    "tasks.tracking": {"access", "observer", "revision", "runs", "store"},
}  # fmt: skip

FORBIDDEN = {
    "configs": {"prefect", "mlflow", "lakefs", "torch", "transformers"},
    "tasks.records": {"prefect", "mlflow", "lakefs", "torch", "transformers"},
    "tasks.versioning": {"prefect", "mlflow", "torch"},
    "tasks.formatting": {"prefect", "mlflow", "lakefs"},
    "tasks.training": {"prefect", "mlflow", "lakefs"},
    "tasks.evaluation": {"prefect", "mlflow", "lakefs"},
    "tasks.publishing": {"prefect"},
    "tasks.tracking": {"prefect", "torch", "transformers"},
}

# These import nothing heavy when they are imported themselves.
LIGHT = ("flows.cli", "flows.finetune", "configs.load", "tasks.records.entries")
HEAVY = {"torch", "transformers", "datasets", "mlflow", "matplotlib", "peft"}


def list_sources() -> list[Path]:
    packages = ("configs", "tasks", "flows", "deployments")
    return sorted(p for name in packages for p in (ROOT / name).rglob("*.py"))


def find_layer(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] == "tasks" and len(parts) > 1 and parts[1] in LIBRARIES:
        return f"tasks.{parts[1]}"
    return parts[0] if parts[0] in MAY_IMPORT else None


def find_module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def find_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            yield module
            if module in MAY_IMPORT or module == "tasks":
                yield from (f"{module}.{name.name}" for name in node.names)


def test_top_level_is_exactly_the_contract() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    folders = {name.split("/")[0] for name in tracked if "/" in name}
    assert folders - {".ci"} <= TOP_LEVEL


@pytest.mark.parametrize("path", list_sources(), ids=find_module)
def test_imports_run_one_way(path: Path) -> None:
    layer = find_layer(find_module(path))
    assert layer is not None
    for imported in find_imports(path):
        assert imported.split(".")[0] not in FORBIDDEN.get(layer, set()), (
            f"{path}: {layer} must not import {imported}"
        )
        target = find_layer(imported)
        if target is None:
            continue
        assert target in MAY_IMPORT[layer], f"{path}: {layer} must not import {imported}"
        if layer.startswith("tasks.") and target != layer and target in PUBLIC:
            module = imported.removeprefix(target).removeprefix(".")
            assert not module or module in PUBLIC[target], f"{path}: {imported} is internal"


@pytest.mark.parametrize("name", [p.stem for p in (ROOT / "flows").glob("*.py")])
def test_flows_shadow_no_installed_module(name: str) -> None:
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({name!r}) is not None)"
    if name != "__init__":
        assert subprocess.run([sys.executable, "-I", "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(sorted({HEAVY!r} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert result.stdout.strip() == "[]"


def test_tasks_are_short() -> None:
    for path in (ROOT / "tasks").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and any(
                "task" in ast.unparse(d) for d in node.decorator_list
            ):
                assert (node.end_lineno or 0) - node.body[0].lineno + 1 <= 30, (
                    f"{path}: {node.name}"
                )
