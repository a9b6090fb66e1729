import math

from configs.schema import EvaluationConfig
from tasks.evaluation.scoring import Answered, Scorer, build_scorer

ALL = EvaluationConfig().metrics


def test_only_the_wanted_scores_are_computed() -> None:
    scores = Scorer(ALL).score(Answered("x y z", "x y z"))
    assert set(scores) == set(ALL) - {"nll", "perplexity"}
    assert all(math.isclose(value, 1) for value in scores.values())
    assert set(Scorer(("rougeL", "nll")).score(Answered("a", "a"))) == {"rougeL"}


def test_an_answer_that_was_cut_off_has_not_stopped() -> None:
    scorer = Scorer(("stop_rate", "length_ratio"))
    assert scorer.score(Answered("abc", "a", ended=False)) == {"stop_rate": 0, "length_ratio": 3}
    assert scorer.score(Answered("", " ")) == {"stop_rate": 1, "length_ratio": 0}


def test_what_the_config_asks_for_is_added() -> None:
    evaluation = EvaluationConfig(
        metrics=("exact_match",),
        answer_pattern="[a-z]+",
        custom_metrics={"formula": "data/flowroll/checker.py:score_formula"},
    )
    assert evaluation.metric_names == ("exact_match", "format_valid", "formula")
    answered = Answered("FLOWROLL(a,2,BACK)", "FLOWROLL( a, 2, BACK )")
    expected = {"exact_match": 0, "format_valid": 0, "formula": 1}
    assert build_scorer(evaluation).score(answered) == expected
