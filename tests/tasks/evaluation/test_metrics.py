import math
from dataclasses import replace

import numpy as np
import pytest

from configs.schema import EvaluationConfig
from tasks.evaluation.metrics import (
    METRICS,
    compute_metrics,
    find_metric,
    has_metric,
)
from tests.tasks.evaluation.rows import make_row

ALL = EvaluationConfig().metrics


def test_nll_is_weighted_by_tokens() -> None:
    rows = [make_row(0, nll_sum=10.0, num_tokens=10), make_row(1, nll_sum=1.0, num_tokens=2)]
    values = compute_metrics(rows, ["nll", "perplexity"])
    assert values["nll"] == pytest.approx(11 / 12)
    assert values["perplexity"] == pytest.approx(math.exp(11 / 12))


def test_bits_per_byte_do_not_depend_on_the_tokens() -> None:
    rows = [make_row(0, nll_sum=8.0, num_tokens=4, num_bytes=16)]
    other = [replace(rows[0], num_tokens=2)]
    nll = find_metric("nll", same_tokenizer=False)
    assert nll.compute(rows) == nll.compute(other) == pytest.approx(8 / math.log(2) / 16)
    perplexity = find_metric("perplexity", same_tokenizer=False).compute(rows)
    assert perplexity == pytest.approx(2 ** nll.compute(rows))
    assert find_metric("exact_match", same_tokenizer=False) is METRICS["exact_match"]


def test_less_nll_is_an_improvement() -> None:
    one, two = np.array(1.0), np.array(2.0)
    assert METRICS["nll"].improve(one, two) == 1
    assert METRICS["exact_match"].improve(one, two) == -1


def test_rows_without_answers_have_only_nll() -> None:
    rows = [make_row(0, scores={}), make_row(1, scores={})]
    assert set(compute_metrics(rows, ALL)) == {"nll", "perplexity"}
    assert not has_metric([make_row(0, num_tokens=0)], "nll")
    assert compute_metrics([], ALL) == {}


def test_every_configured_metric_is_known() -> None:
    assert set(METRICS) == {*ALL, "format_valid", "toxicity"}
    assert all(name == metric.name for name, metric in METRICS.items())


def test_length_ratio_is_of_all_characters_and_has_no_direction() -> None:
    rows = [
        make_row(0, prediction="abcd ", reference="ab", scores={"length_ratio": 2.0}),
        make_row(1, prediction="", reference="abcdef", scores={"length_ratio": 0.0}),
    ]
    assert compute_metrics(rows, ["length_ratio"]) == {"length_ratio": 0.5}
    assert METRICS["length_ratio"].mark == ""
    assert [METRICS[name].mark for name in ("chrf", "nll", "stop_rate")] == ["↑", "↓", "↑"]


def test_a_metric_that_is_not_built_in_is_the_mean_of_its_scores() -> None:
    rows = [make_row(n, scores={"cost": value}) for n, value in enumerate([-1.0, -2.0, 6.0])]
    metric = find_metric("cost")
    assert metric.compute(rows) == 1
    assert metric.higher_is_better
    assert (metric.lowest, metric.highest) == (-math.inf, math.inf)
    assert compute_metrics(rows, ["cost", "unknown"]) == {"cost": 1}
