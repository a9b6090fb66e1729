"""The gate's bench, with few comparisons, ends with one object that has what is promised."""

import json

import pytest

from benchmarks import bootstrap, gate


def test_the_gates_figures_are_one_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gate, "NUM_ROWS", (100,))
    monkeypatch.setattr(gate, "GROUP_SIZES", (1,))
    monkeypatch.setattr(gate, "NUM_LOOKS", 3)
    gate.main(["--json", "--comparisons", "40"])
    found = json.loads(capsys.readouterr().out)
    assert 0 <= found["false_publish"] <= 0.2
    assert 0.6 <= found["power"] <= 1
    assert 0.8 <= found["coverage"] <= 1
    assert found["false_publish_in_30_looks"] <= 0.2
    assert set(found["monte_carlo_error"]) == set(found["settings"])


def test_far_comparisons_are_left_out_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = gate.np.random.default_rng(0)
    sums = gate.draw_nll(rng, 1, (40, 60), 0.03)
    quick = gate.decide_batch(sums)
    monkeypatch.setattr(gate, "NEAR", -100.0)
    assert (quick == gate.decide_batch(sums)).all()
    assert 3 < quick.sum() < 38


def test_the_bootstrap_is_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "SETTINGS", ((10_000, 1),))
    monkeypatch.setattr(bootstrap, "NUM_RESAMPLES", 1_000)
    bootstrap.main(["--json", "--repeats", "1"])
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["seconds"] < 2
    assert {figure["what"] for figure in found["figures"]} > {"exact_match", "nll", "bleu"}
