import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from configs.schema import GateConfig, GuardConfig
from tasks.evaluation.gate import ArmEvidence, GateResult, decide
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.tables import render_checks
from tasks.records.handles import Arm, Check
from tests.tasks.evaluation.rows import make_row, make_rows

ALPHA = 0.0152
Splits = dict[str, list[Prediction]]


def run_gate(arms: dict[Arm, Splits], **changes: Any) -> GateResult:
    settings: dict[str, Any] = {
        "primary_metrics": ["exact_match"],
        "gate": GateConfig(),
        "alpha": ALPHA,
    }
    tokenizers = changes.pop("tokenizers", {})
    evidence = {arm: ArmEvidence(s, tokenizers.get(arm, "")) for arm, s in arms.items()}
    return decide(evidence, **(settings | changes))


def test_a_clear_gain_is_better() -> None:
    result = run_gate(
        {
            "finetuned": {"test": make_rows([1.0] * 30 + [0.0] * 10)},
            "baseline": {"test": make_rows([0.0] * 40)},
        }
    )
    assert result.verdict == "better"
    (check,) = result.checks
    assert (check.role, check.split, check.metric, check.rows) == (
        "primary",
        "test",
        "exact_match",
        40,
    )
    assert (check.candidate, check.opponent_value, check.improvement) == (0.75, 0, 0.75)
    assert 0.5 < check.lower < 0.75 < check.upper < 1
    assert check.passed
    assert "0.75 against the baseline's 0" in result.reasons[0]


def test_rows_are_paired_by_id_not_by_order() -> None:
    tuned, base = make_rows([1.0] * 30 + [0.0] * 10), make_rows([0.0] * 39 + [1.0])
    straight = run_gate({"finetuned": {"test": tuned}, "baseline": {"test": base}})
    turned = run_gate({"finetuned": {"test": tuned}, "baseline": {"test": base[::-1]}})
    assert straight == turned


def test_arms_with_other_rows_are_an_internal_error() -> None:
    tuned = make_rows([1.0] * 10)
    for other in (make_rows([0.0] * 9), [*make_rows([0.0] * 9), make_row(77)]):
        with pytest.raises(ValueError, match="the same examples"):
            run_gate({"finetuned": {"test": tuned}, "baseline": {"test": other}})
    with pytest.raises(ValueError, match="the same examples"):
        run_gate({"finetuned": {"test": [*tuned, tuned[0]]}, "baseline": {"test": tuned}})


def test_identical_outputs_are_not_better_in_their_own_words() -> None:
    rows = make_rows([1.0] * 20 + [0.0] * 20)
    result = run_gate({"finetuned": {"test": rows}, "baseline": {"test": list(rows)}})
    assert result.verdict == "not_better"
    assert "identical to the baseline's in all 40 rows" in result.reasons[0]
    assert not result.checks[0].passed
    assert "outputs are identical" in result.checks[0].note


def test_same_answers_with_another_nll_are_not_identical() -> None:
    rows = make_rows([1.0] * 40)
    sharper = [replace(row, nll_sum=row.nll_sum * 0.9) for row in rows]
    result = run_gate(
        {"finetuned": {"test": sharper}, "baseline": {"test": rows}}, primary_metrics=["nll"]
    )
    assert result.verdict == "better"
    assert result.checks[0].improvement > 0  # less NLL is better
    assert result.checks[0].candidate < result.checks[0].opponent_value


def test_a_worse_candidate_is_not_better() -> None:
    result = run_gate(
        {
            "finetuned": {"test": make_rows([0.0] * 40)},
            "baseline": {"test": make_rows([1.0] * 20 + [0.0] * 20)},
        }
    )
    assert result.verdict == "not_better"
    assert "the upper bound is not above +0" in result.reasons[0]


def test_nought_against_nought_is_not_better() -> None:
    tuned = [replace(row, prediction="other") for row in make_rows([0.0] * 40)]
    result = run_gate({"finetuned": {"test": tuned}, "baseline": {"test": make_rows([0.0] * 40)}})
    assert result.verdict == "not_better"


def test_a_small_gain_is_inconclusive_and_says_what_would_settle_it() -> None:
    result = run_gate(
        {
            "finetuned": {"test": make_rows([1.0] * 9 + [0.0] * 31)},
            "baseline": {"test": make_rows([0.0] * 36 + [1.0] * 4)},
        }
    )
    assert result.verdict == "inconclusive"
    assert "more test examples would settle it" in result.reasons[0]
    assert result.checks[0].lower < 0 < result.checks[0].upper


def test_the_number_that_would_settle_it_does() -> None:
    tuned, base = [1.0] * 9 + [0.0] * 31, [0.0] * 36 + [1.0] * 4
    result = run_gate(
        {"finetuned": {"test": make_rows(tuned)}, "baseline": {"test": make_rows(base)}}
    )
    more = int(result.reasons[0].split("About ")[1].split()[0])
    rng = np.random.default_rng(0)
    passed = 0
    for _ in range(60):
        drawn = rng.integers(0, 40, 40 + more)
        again = run_gate(
            {
                "finetuned": {"test": make_rows([tuned[i] for i in drawn])},
                "baseline": {"test": make_rows([base[i] for i in drawn])},
            },
            gate=GateConfig(num_resamples=1000),
        )
        passed += again.verdict == "better"
    assert 0.6 <= passed / 60 <= 0.95  # 80 % is announced


def test_five_groups_never_say_better() -> None:
    groups = [f"g{number // 10}" for number in range(50)]
    tuned = [replace(r, group=g) for r, g in zip(make_rows([1.0] * 50), groups, strict=True)]
    base = [replace(r, group=g) for r, g in zip(make_rows([0.0] * 50), groups, strict=True)]
    result = run_gate({"finetuned": {"test": tuned}, "baseline": {"test": base}})
    assert result.verdict == "inconclusive"
    assert "only 5 groups differ; no result is significant below 7" in result.reasons[0]
    assert result.checks[0].lower > 0
    assert not result.checks[0].passed


def test_one_group_bounds_nothing_and_is_stored_as_strict_json() -> None:
    result = run_gate(
        {
            "finetuned": {"test": make_rows([1.0] * 20, group="one")},
            "baseline": {"test": make_rows([0.0] * 20, group="one")},
        },
        primary_metrics=["exact_match", "nll"],
    )
    assert result.verdict == "inconclusive"
    assert "(bounds unbounded, 20 rows in 1 groups)" in result.reasons[0]
    assert "nll" not in result.smallest_detectable_gain
    for check in result.checks:
        assert (check.lower, check.upper, check.width, check.passed) == (None, None, None, False)
        stored = json.dumps(check.model_dump(mode="json"), allow_nan=False)
        assert Check.model_validate_json(stored) == check
        assert Check.model_validate_json(check.model_dump_json()) == check
    assert "| unbounded |" in render_checks(result.checks)


def test_margin_must_be_exceeded() -> None:
    arms: dict[Arm, Splits] = {
        "finetuned": {"test": make_rows([1.0] * 30 + [0.0] * 10)},
        "baseline": {"test": make_rows([0.0] * 40)},
    }
    assert run_gate(arms, gate=GateConfig(min_improvement=0.5)).verdict == "better"
    assert run_gate(arms, gate=GateConfig(min_improvement=0.7)).verdict == "inconclusive"
    assert run_gate(arms, gate=GateConfig(min_improvement=0.95)).verdict == "not_better"


def test_a_regression_on_the_guard_holds_the_candidate_back() -> None:
    tuned, base = make_rows([1.0] * 40), make_rows([0.0] * 40)
    arms: dict[Arm, Splits] = {
        "finetuned": {"test": tuned, "adversarial": make_rows([1.0] * 20 + [0.0] * 20)},
        "baseline": {"test": base, "adversarial": make_rows([1.0] * 40)},
    }
    result = run_gate(arms)
    assert result.verdict == "inconclusive"
    assert [(c.split, c.role, c.passed) for c in result.checks] == [
        ("test", "primary", True), ("adversarial", "guard", False),
    ]  # fmt: skip
    assert "The regression is proven" in result.reasons[0]
    arms["baseline"]["adversarial"] = make_rows([1.0] * 10 + [0.0] * 30)
    assert run_gate(arms).verdict == "better"
    assert run_gate(arms).checks[1].threshold == -0.05


def run_guarded(num_rows: int, *, lost: int = 0, **gate: Any) -> tuple[GateResult, Check]:
    """Guard adversarial rows that both arms have right, but for those that are lost."""
    tuned = make_rows([0.0] * lost + [1.0] * (num_rows - lost))
    result = run_gate(
        {
            "finetuned": {"test": make_rows([1.0] * 40), "adversarial": tuned},
            "baseline": {"test": make_rows([0.0] * 40), "adversarial": make_rows([1.0] * num_rows)},
        },
        gate=GateConfig(**gate),
    )
    return result, result.checks[1]


def test_rows_that_do_not_differ_prove_no_more_than_their_number() -> None:
    result, check = run_guarded(40)
    assert result.verdict == "inconclusive"  # 40 rows without a loss rule out no loss of 5 %
    assert -0.12 < (check.lower or 0) < -0.1
    assert check.standard_error == 0
    more = int(result.reasons[0].split("About ")[1].split()[0])
    assert 40 < more < 70
    assert not run_guarded(40 + more - 6)[1].passed
    assert run_guarded(40 + more)[0].verdict == "better"
    assert run_guarded(40, max_regression=0.1)[1].passed is False
    assert run_guarded(40, max_regression=0.12)[1].passed is True


def test_a_few_losses_are_bounded_by_what_may_lie_behind_them() -> None:
    lower = [run_guarded(200, lost=lost)[1].lower or 0 for lost in range(5)]
    assert lower == sorted(lower, reverse=True)
    assert lower[4] < -2.5 * 4 / 200
    assert run_guarded(200, lost=2)[1].passed
    assert not run_guarded(200, lost=5)[1].passed


def test_an_opponent_that_has_nothing_right_has_nothing_to_lose() -> None:
    wrong = make_rows([0.0] * 20)
    result = run_gate(
        {
            "finetuned": {"test": make_rows([1.0] * 40), "adversarial": wrong},
            "baseline": {"test": make_rows([0.0] * 40), "adversarial": list(wrong)},
        }
    )
    assert result.verdict == "better"


def test_a_guard_on_a_slice_holds_the_candidate_back() -> None:
    base = make_rows([0.0] * 100 + [1.0] * 100)
    tuned = make_rows([1.0] * 200)
    worse = [
        replace(row, prediction="no", scores={"exact_match": 0.0}) if number >= 180 else row
        for number, row in enumerate(tuned)
    ]
    hard = [
        [replace(row, fields={"level": 3 if n >= 120 else 1}) for n, row in enumerate(rows)]
        for rows in (base, worse)
    ]
    arms: dict[Arm, Splits] = {"finetuned": {"test": hard[1]}, "baseline": {"test": hard[0]}}
    assert run_gate(arms).verdict == "better"
    guarded = run_gate(
        arms, gate=GateConfig(guards=(GuardConfig(metric="exact_match", slice={"level": 3}),))
    )
    assert guarded.verdict == "inconclusive"
    assert [(c.slice, c.rows, c.passed) for c in guarded.checks] == [
        ("", 200, True), ("level=3", 80, False),
    ]  # fmt: skip
    assert "exact_match on test where level=3" in guarded.reasons[0]
    assert "The regression is proven" in guarded.reasons[0]
    assert "exact_match on test where level=3 (guard)" in render_checks(guarded.checks)
    eased = GuardConfig(metric="exact_match", slice={"level": 3}, max_regression=0.5)
    assert run_gate(arms, gate=GateConfig(guards=(eased,))).verdict == "better"


def test_another_metric_can_guard_the_test_split() -> None:
    base, tuned = make_rows([0.0] * 40), make_rows([1.0] * 40)
    blurred = [replace(row, nll_sum=row.nll_sum + 5) for row in tuned]
    arms: dict[Arm, Splits] = {"finetuned": {"test": blurred}, "baseline": {"test": base}}
    result = run_gate(arms, gate=GateConfig(guards=(GuardConfig(metric="nll"),)))
    assert (result.verdict, result.checks[1].metric) == ("inconclusive", "nll")
    assert result.checks[1].role == "guard"
    assert result.checks[1].won is None  # nats are not right or wrong


@pytest.mark.parametrize(
    ("guard", "reason"),
    [
        (GuardConfig(metric="nll", slice={"kind": "x"}), "nll on test where kind=x"),
        (GuardConfig(metric="nll", split="dev"), "nll on dev: it has no rows"),
    ],
)
def test_a_guard_without_rows_does_not_pass(guard: GuardConfig, reason: str) -> None:
    arms: dict[Arm, Splits] = {
        "finetuned": {"test": make_rows([1.0] * 40)}, "baseline": {"test": make_rows([0.0] * 40)},
    }  # fmt: skip
    result = run_gate(arms, gate=GateConfig(guards=(guard,)))
    assert result.verdict == "inconclusive"
    assert reason in result.reasons[0]


def test_a_guard_on_few_rows_of_a_slice_does_not_pass() -> None:
    arms: dict[Arm, Splits] = {
        "finetuned": {"test": make_rows([1.0] * 40)}, "baseline": {"test": make_rows([0.0] * 40)},
    }  # fmt: skip
    for rows in arms.values():
        rows["test"] = [replace(r, fields={"rare": n < 5}) for n, r in enumerate(rows["test"])]
    guard = GuardConfig(metric="exact_match", slice={"rare": True}, max_regression=0.9)
    result = run_gate(arms, gate=GateConfig(guards=(guard,)))
    assert result.verdict == "inconclusive"
    assert "only 5 groups; no result is significant below 7" in result.reasons[0]


def test_mcnemar_is_shown_beside_the_bootstrap() -> None:
    result = run_gate(
        {
            "finetuned": {"test": make_rows([1.0] * 9 + [0.0] * 31)},
            "baseline": {"test": make_rows([0.0] * 36 + [1.0] * 4)},
        }
    )
    (check,) = result.checks
    assert (check.won, check.lost) == (9, 4)
    assert check.mcnemar_p == pytest.approx(0.26685, abs=1e-5)
    assert "9 / 4" in render_checks(result.checks)
    assert "0.267" in render_checks(result.checks)


@pytest.mark.parametrize(
    ("nats", "words"),
    [
        (math.nan, "the candidate's is not a finite number in 1 of 40 rows"),
        (math.inf, "the candidate's is not a finite number in 1 of 40 rows"),
        (1e6, "the candidate's is inf"),
    ],
)
def test_what_is_not_finite_decides_nothing(nats: float, words: str) -> None:
    tuned = make_rows([1.0] * 40)
    tuned[3] = replace(tuned[3], nll_sum=nats)
    result = run_gate(
        {"finetuned": {"test": tuned}, "baseline": {"test": make_rows([0.0] * 40)}},
        primary_metrics=["exact_match", "perplexity"],
    )
    assert result.verdict == "inconclusive"
    assert words in result.reasons[0]
    assert [check.metric for check in result.checks] == ["exact_match"]


def test_a_perplexity_that_overflows_in_some_resamples_is_not_bounded() -> None:
    tuned = make_rows([1.0] * 40)
    tuned[3] = replace(tuned[3], nll_sum=150_000.0)  # exp(620) as it is, exp(1240) drawn twice
    result = run_gate(
        {"finetuned": {"test": tuned}, "baseline": {"test": make_rows([0.0] * 40)}},
        primary_metrics=["perplexity"],
    )
    assert result.verdict == "inconclusive"
    assert result.checks[0].lower is None


def test_a_guard_of_few_groups_proves_nothing() -> None:
    arms: dict[Arm, Splits] = {
        "finetuned": {"test": make_rows([1.0] * 40), "adversarial": make_rows([1.0] * 3)},
        "baseline": {"test": make_rows([0.0] * 40), "adversarial": make_rows([0.0] * 3)},
    }
    result = run_gate(arms)
    assert result.verdict == "inconclusive"
    assert "only 3 groups; no result is significant below 7" in result.reasons[0]


def champion_arms(champion: list[float]) -> dict[Arm, Splits]:
    return {
        "finetuned": {"test": make_rows([1.0] * 195 + [0.0] * 5)},
        "baseline": {"test": make_rows([0.0] * 200)},
        "champion": {"test": make_rows(champion)},
    }


def test_the_champion_must_be_beaten_or_at_least_matched() -> None:
    arms = champion_arms([1.0] * 194 + [0.0] * 5 + [1.0])
    assert run_gate(arms).verdict == "inconclusive"
    relaxed = run_gate(arms, gate=GateConfig(champion="not_worse"))
    assert relaxed.verdict == "better"
    assert [(c.opponent, c.role) for c in relaxed.checks] == [
        ("baseline", "primary"), ("champion", "guard"),
    ]  # fmt: skip
    assert run_gate(champion_arms([1.0] * 100 + [0.0] * 100)).verdict == "better"


def test_rows_of_the_champions_training_are_left_out_and_counted() -> None:
    arms = champion_arms([1.0] * 200)  # it knows the answers
    assert run_gate(arms).verdict == "not_better"
    trained = frozenset(f"prompt {number}" for number in range(150, 200))
    result = run_gate(arms, champion_prompts=trained)
    by_opponent = {check.opponent: check for check in result.checks}
    assert by_opponent["champion"].rows == 150
    assert "50 rows that the champion trained on left out" in by_opponent["champion"].note
    assert by_opponent["baseline"].rows == 200
    everything = frozenset(f"prompt {number}" for number in range(200))
    unusable = run_gate(arms, champion_prompts=everything)
    assert unusable.verdict == "inconclusive"
    assert "trained on every row of test" in unusable.reasons[0]


def test_another_answer_to_a_prompt_of_the_champions_training_is_left_out_too() -> None:
    arms = champion_arms([1.0] * 200)
    for rows in arms.values():  # the ids differ, the prompt is one
        rows["test"] = [
            replace(row, prompt_digest="asked before") if number < 20 else row
            for number, row in enumerate(rows["test"])
        ]
    result = run_gate(arms, champion_prompts=frozenset({"asked before"}))
    assert {check.opponent: check.rows for check in result.checks} == {
        "baseline": 200, "champion": 180,
    }  # fmt: skip


def test_a_champion_that_cannot_be_loaded_is_inconclusive() -> None:
    arms = champion_arms([])
    del arms["champion"]
    result = run_gate(arms, unavailable={"champion": "version 3 lacks its adapter"})
    assert result.verdict == "inconclusive"
    assert result.reasons[0] == "no comparison with the champion: version 3 lacks its adapter"


def test_between_tokenizers_nll_is_in_bits_per_byte() -> None:
    base = make_rows([0.0] * 40)
    # Half the tokens for the same text at the same likelihood: per token it looks twice as bad.
    tuned = [replace(r, num_tokens=2, nll_sum=r.nll_sum - 0.5, prediction="x") for r in base]
    arms: dict[Arm, Splits] = {"finetuned": {"test": tuned}, "baseline": {"test": base}}
    fair = run_gate(arms, primary_metrics=["nll"], tokenizers={"finetuned": "a", "baseline": "b"})
    assert fair.verdict == "better"
    assert "bits per byte" in fair.checks[0].note
    expected = sum(r.nll_sum for r in base) / math.log(2) / sum(r.num_bytes for r in base)
    assert fair.checks[0].opponent_value == pytest.approx(expected)
    assert run_gate(arms, primary_metrics=["nll"]).verdict == "not_better"


def test_several_primaries_must_all_hold() -> None:
    tuned = [replace(row, nll_sum=row.nll_sum + 1) for row in make_rows([1.0] * 40)]
    arms: dict[Arm, Splits] = {
        "finetuned": {"test": tuned}, "baseline": {"test": make_rows([0.0] * 40)},
    }  # fmt: skip
    assert run_gate(arms).verdict == "better"
    assert run_gate(arms, primary_metrics=["exact_match", "nll"]).verdict == "not_better"


def test_a_metric_that_the_rows_lack_is_an_error() -> None:
    rows = make_rows([1.0] * 10, scores={})
    with pytest.raises(ValueError, match="carry no exact_match"):
        run_gate({"finetuned": {"test": rows}, "baseline": {"test": rows}})


def test_corpus_bleu_can_decide() -> None:
    tuned = [
        make_row(n, prediction=f"a b c d {n}", reference=f"a b c d {n}", scores={"bleu": 1.0})
        for n in range(40)
    ]
    base = [replace(row, prediction="a b x") for row in tuned]
    result = run_gate(
        {"finetuned": {"test": tuned}, "baseline": {"test": base}}, primary_metrics=["bleu"]
    )
    assert result.verdict == "better"
    assert result.checks[0].candidate == pytest.approx(1)


def test_smallest_gains_are_stated() -> None:
    arms = champion_arms([1.0] * 100 + [0.0] * 100)
    exact = run_gate(arms).smallest_detectable_gain
    assert list(exact) == ["exact_match@0.1", "exact_match@0.2", "exact_match@0.4"]
    assert 0.05 < exact["exact_match@0.1"] < exact["exact_match@0.4"] < 0.2
    result = run_gate(arms, primary_metrics=["nll"])
    assert list(result.smallest_detectable_gain) == ["nll"]


def test_the_same_evidence_gives_the_same_decision() -> None:
    arms = champion_arms([1.0, 0.0] * 100)
    assert run_gate(arms) == run_gate(arms)
    assert run_gate(arms) != run_gate(arms, gate=GateConfig(seed=1))
