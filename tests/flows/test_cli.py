"""The commands beside `hone run`: what they print, for people and for machines."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.conftest import CallHone
from tests.flows.running import NUM_TEST_ROWS, ROOT, Outcome, make_environment

COMMANDS = (
    "run", "plan", "compare", "sweep", "evaluate", "generate", "init", "configs", "doctor",
    "version",
)  # fmt: skip


@pytest.fixture
def published_home(published: Outcome, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The HONE_HOME of the published run; these commands change nothing in it."""
    monkeypatch.setenv("HONE_HOME", str(published.home))
    return published.home


def test_help_lists_the_commands_and_imports_little(tmp_path: Path) -> None:
    code = (
        "import sys; from flows.cli import main\n"
        "try: main()\n"
        "finally: print(*sorted(sys.modules), file=sys.stderr)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, "--help"], env=make_environment(tmp_path), cwd=tmp_path,
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    for command in COMMANDS:
        assert f"  {command} " in shown.stdout
    assert not {"prefect", "torch", "mlflow", "numpy", "pydantic"} & set(shown.stderr.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(call_hone: CallHone, command: str) -> None:
    outcome = call_hone(command, "--help")
    assert outcome.code == 0
    assert "--json" in outcome.stdout
    assert "Exit codes" in outcome.stdout


def test_the_installed_command_is_the_same() -> None:
    command = Path(sys.executable).with_name("hone")
    shown = subprocess.run([command, "version", "--json"], check=True, capture_output=True)
    assert set(json.loads(shown.stdout)) == {"hone", "code_revision", "libraries"}


def test_plan_shows_what_can_be_known(call_hone: CallHone, preset: Path) -> None:
    outcome = call_hone("plan", str(preset))
    assert outcome.code == 0, outcome.stderr
    for text in (
        "140 read = 140 kept + 0 invalid + 0 filtered", "Done.", "20 steps of 8 examples",
        "exact_match on test", "number 1 at this test set",
    ):  # fmt: skip
        assert text in outcome.stdout


def test_plan_for_machines_is_one_object(call_hone: CallHone, preset: Path) -> None:
    plan = call_hone("plan", str(preset), "--json").result
    assert plan["rows"] == {"read": 140, "kept": 140, "invalid": 0, "filtered": 0, "cut": 0}
    assert plan["splits"]["test"]["rows"] == NUM_TEST_ROWS
    assert plan["steps"] == 20
    assert 0 < plan["num_trainable_parameters"] < plan["num_parameters"]
    training = plan["training"]
    assert plan["fits"]
    assert (
        sum(training["memory_parts"].values()) == plan["memory_bytes"] < plan["free_memory_bytes"]
    )
    assert 0 < training["trained_tokens"] < training["tokens"]
    assert training["hours"] == pytest.approx(
        training["hardware_flops"] / training["device_flops"] / training["assumed_mfu"] / 3600
    )
    assert training["money"] is None


@pytest.mark.usefixtures("published_home")
def test_evaluate_scores_a_published_model(
    call_hone: CallHone, preset: Path, tmp_path: Path
) -> None:
    answers, data = tmp_path / "answers.jsonl", tmp_path / "rows.jsonl"
    test = (preset.parent / "data" / "eval" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) | {"kind": f"k{number % 2}"} for number, line in enumerate(test)]
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    outcome = call_hone(
        "evaluate", "models:/small@champion", "--data", str(data), "--num-samples", "5",
        "--output", str(answers), "--json", "--set", "evaluation.slice_by=[kind]",
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    (metrics,) = outcome.result["metrics"].values()
    assert metrics["exact_match"] == 1
    assert outcome.result["rows"]["read"] == outcome.result["rows"]["kept"] == len(test)
    slices = outcome.result["slices"]["rows.jsonl"]["kind"]
    assert sum(values["rows"] for values in slices.values()) == 5
    assert all(values["exact_match"] == 1 for values in slices.values())
    rows = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 5


def test_generate_answers_for_people_and_machines(
    call_hone: CallHone, published_home: Path, tmp_path: Path
) -> None:
    run = published_home / "outputs" / "runs" / "latest"
    outcome = call_hone("generate", str(run), "--prompt", "Put fern in the hall.")
    assert (outcome.code, outcome.stdout) == (0, "Done.\n")

    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Put fern in the hall.\n\nPut jade in the jar.\n", encoding="utf-8")
    outcome = call_hone("generate", "models:/small/1", "--input", str(prompts), "--json")
    assert outcome.result["answers"] == [
        {"prompt": "Put fern in the hall.", "answer": "Done."},
        {"prompt": "Put jade in the jar.", "answer": "Done."},
    ]


def test_generate_refuses_samples_that_would_be_equal(call_hone: CallHone) -> None:
    outcome = call_hone("generate", "tiny", "--prompt", "Hello?", "--num-samples", "2")
    assert outcome.code == 3
    assert "--temperature" in outcome.stderr


def test_init_writes_a_project_that_can_be_planned(call_hone: CallHone, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    outcome = call_hone("init", str(folder), "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.result["next"] == f"hone plan {folder / 'preset.yaml'}"
    assert all(Path(path).is_file() for path in outcome.result["written"])
    assert call_hone(*outcome.result["next"].split()[1:]).code == 0
    assert call_hone("init", str(folder)).code == 3  # never over somebody's files


def test_configs_lists_every_preset(call_hone: CallHone) -> None:
    presets = {row["name"] for row in call_hone("configs", "--json").result["presets"]}
    assert presets == {path.stem for path in (ROOT / "configs").glob("*.yaml")}
    assert "llama3-8b-lora" in call_hone("configs").stdout


def test_doctor_says_what_works_and_no_secret(
    call_hone: CallHone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 30)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:password@127.0.0.1:9/")
    outcome = call_hone("doctor", "--json")
    found = {row["what"]: row for row in outcome.result["findings"]}
    assert found["Python"]["state"] == "ok"
    assert found["MLflow"]["state"] == "wrong"
    assert outcome.code == 1
    assert "password" not in outcome.stdout
    assert "xxx" not in outcome.stdout


def test_an_env_file_is_read_and_never_overrides(
    call_hone: CallHone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("HF_TOKEN=from-file\nHONE_HOME=/nowhere\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    found = {row["what"]: row for row in call_hone("doctor", "--json").result["findings"]}
    assert found["HF_TOKEN"]["state"] == "ok"
    assert found["HONE_HOME"]["found"] == str(tmp_path / "home")


def test_full_disk_is_one_clear_error(call_hone: CallHone, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "cache/x")

    monkeypatch.setattr("flows.commands.presets.show_presets", fill)
    outcome = call_hone("configs")
    assert outcome.code == 1
    assert "no disk space: cache/x" in outcome.stderr
    assert "Traceback" not in outcome.stderr
