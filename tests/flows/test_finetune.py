"""One whole run of the flow on the embedded defaults, and the same run again."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from configs.load import load_config
from configs.metrics import DEFAULT_METRICS
from tests.flows.running import NUM_TEST_ROWS, Outcome, list_runs, list_versions, run_hone

RESULT_KEYS = {
    "run_dir", "data_commit", "verdict", "publication", "metrics", "rows", "seconds", "reused",
}  # fmt: skip
STAGES = [
    "version", "format", "evaluate-baseline", "train", "evaluate-finetuned", "decide", "publish",
]  # fmt: skip
METRICS = {*DEFAULT_METRICS, "tokens_per_second"}
HEAVY = {"torch", "transformers", "peft", "datasets"}
HONE_AND_MODULES = """
import sys
from flows.cli import main
try:
    main()
finally:
    print("imported:", *sorted(sys.modules), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def again(published: Outcome, preset: Path) -> Outcome:
    """The same command again, in a process that says in the end what it has imported."""
    command = [sys.executable, "-c", HONE_AND_MODULES]
    return run_hone(published.home, "run", str(preset), "--json", command=command)


def find_run(outcome: Outcome) -> Path:
    return outcome.home / outcome.result["run_dir"]


def test_a_model_that_is_better_is_published(published: Outcome) -> None:
    result = published.result
    assert set(result) == RESULT_KEYS
    assert result["verdict"] == "better"
    assert result["publication"] == {
        "name": "small",
        "version": "1",
        "path": "artifacts/models/small/1",
        "uri": "models:/small/1",
    }
    assert re.fullmatch(r"[0-9a-f]{40}", result["data_commit"])
    assert (published.home / "artifacts/models/small/1/adapter_model.safetensors").is_file()


def test_the_result_has_metrics_rows_and_seconds(published: Outcome) -> None:
    result = published.result
    assert {arm: set(splits) for arm, splits in result["metrics"].items()} == {
        "baseline": {"test"},
        "finetuned": {"test"},
    }
    for splits in result["metrics"].values():
        assert set(splits["test"]) == METRICS
    assert result["metrics"]["baseline"]["test"]["exact_match"] == 0
    assert result["metrics"]["finetuned"]["test"]["exact_match"] > 0.9
    assert result["rows"] == {"read": 140, "kept": 140, "invalid": 0, "filtered": 0, "cut": 0}
    assert list(result["seconds"]) == STAGES
    assert result["reused"] == []


def test_the_run_folder_has_the_shape_of_the_contract(published: Outcome) -> None:
    run = find_run(published)
    for name in ("data", "checkpoints", "model", "predictions", "plots", "logs"):
        assert (run / name).is_dir(), name
    for name in ("config.yaml", "report.md", "report.html", "metrics.json", "manifest.json"):
        assert (run / name).is_file(), name
    assert (run.parent / "latest").resolve() == run.resolve()
    assert (run / "checkpoints" / "best").is_dir()
    assert (run / "checkpoints" / "last").is_dir()
    assert list((run / "logs").rglob("events.out.tfevents.*"))
    for plot in ("metrics", "loss"):
        assert (run / "plots" / f"{plot}.png").read_bytes().startswith(b"\x89PNG")


def test_the_plots_are_drawn_once(published: Outcome) -> None:
    reported = {p.name: p.read_bytes() for p in (find_run(published) / "plots").iterdir()}
    drawn = [
        {plot.name: plot.read_bytes() for plot in folder.iterdir()}
        for folder in (published.home / "cache" / "figures").glob("*/plots")
    ]
    assert drawn.count(reported) == 1  # other tests may have run there since


def test_the_model_has_the_shape_that_hugging_face_reads(published: Outcome) -> None:
    names = {path.name for path in (find_run(published) / "model").iterdir()}
    assert names >= {
        "adapter_model.safetensors", "adapter_config.json", "tokenizer.json",
        "tokenizer_config.json", "chat_template.jinja", "generation_config.json",
    }  # fmt: skip


def test_every_answer_is_kept(published: Outcome) -> None:
    for arm in ("baseline", "finetuned"):
        file = find_run(published) / "predictions" / arm / "test.jsonl"
        assert len(file.read_text(encoding="utf-8").splitlines()) == NUM_TEST_ROWS


def test_files_of_the_run_say_what_the_result_says(published: Outcome) -> None:
    run, result = find_run(published), published.result
    assert json.loads((run / "metrics.json").read_text(encoding="utf-8")) == result["metrics"]
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert list(manifest["seconds"]) == sorted(STAGES)
    assert manifest["handles"]["decide"]["verdict"] == "better"
    report = (run / "report.md").read_text(encoding="utf-8")
    assert "better" in report
    for plot in re.findall(r"\((plots/[^)]+)\)", report):
        assert (run / plot).is_file()


def test_the_config_of_a_run_loads_as_the_preset_does(published: Outcome, preset: Path) -> None:
    config = find_run(published) / "config.yaml"
    assert load_config(str(config)) == load_config(str(preset))


def test_the_same_run_again_gives_the_same_decision(published: Outcome, again: Outcome) -> None:
    assert again.code == 0, again.stderr
    first, second = published.result, again.result
    varying = ("run_dir", "seconds", "reused")
    assert {k: v for k, v in second.items() if k not in varying} == {
        k: v for k, v in first.items() if k not in varying
    }
    assert second["run_dir"] != first["run_dir"]
    assert second["reused"] == STAGES


def test_the_same_run_again_publishes_nothing(again: Outcome) -> None:
    assert list_versions(again.home) == ["1"]


def test_the_same_run_again_does_not_import_torch(again: Outcome) -> None:
    imported = set(again.stderr.rpartition("imported:")[2].split())
    assert "flows.finetune" in imported
    assert not imported & HEAVY


def test_the_same_run_again_has_a_complete_run_folder(again: Outcome) -> None:
    first, *_, last = list_runs(again.home)
    assert last == find_run(again)
    assert {path.name for path in last.iterdir()} == {path.name for path in first.iterdir()}
    assert (last.parent / "latest").resolve() == last.resolve()
