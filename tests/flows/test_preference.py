"""A run on pairs of answers, from the file to a decision."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.conftest import CallHone
from tests.flows.running import NUM_TEST_ROWS, PLACES, THINGS, list_runs, write_rows

PRESET = """\
extends: tiny
purpose: Pairs of answers
data: {source: data, pattern: train.jsonl, group_by: null}
training: {objective: orpo, max_steps: 8, num_sample_generations: 0}
evaluation: {max_new_tokens: 8}
publish: {name: preferring, num_probes: 4}
"""


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_a_model_that_learnt_to_prefer_is_decided_upon(
    home: Path, tmp_path: Path, call_hone: CallHone
) -> None:
    rows = [
        {"prompt": f"Put {a} in the {b}.", "chosen": "Done.", "rejected": "I would rather not."}
        for b in PLACES
        for a in THINGS
    ]
    write_rows(tmp_path / "data" / "train.jsonl", rows[NUM_TEST_ROWS:])
    write_rows(tmp_path / "data" / "eval" / "test.jsonl", rows[:NUM_TEST_ROWS])
    (tmp_path / "preset.yaml").write_text(PRESET, encoding="utf-8")
    outcome = call_hone("run", str(tmp_path / "preset.yaml"), "--until", "decide", "--json")
    assert outcome.result["verdict"] == "better", outcome.stderr
    history = (list_runs(home)[-1] / "model").resolve().parent / "history.jsonl"
    assert "eval_rewards/margins" in history.read_text(encoding="utf-8")
