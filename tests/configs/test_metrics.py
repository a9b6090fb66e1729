import pytest

from configs.errors import RequestError
from configs.load import check_config, load_config

CHECKER = "data/flowroll/checker.py:score_value"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["gate.primary_metrics=[exact_mach]"], "did you mean exact_match?"),
        (["gate.primary_metrics=[length_ratio]"], "neither more nor less is better"),
        (["gate.primary_metrics=[bleu]", "evaluation.metrics=[nll]"], "leaves out"),
        (["gate.primary_metrics=[Not a name]"], "another metric that evaluation computes"),
        (["gate.primary_metrics=[format_valid]"], "which is not computed"),
        (["evaluation.custom_metrics.bleu=m:f"], "'bleu', which is built in"),
        (["evaluation.custom_metrics={a-b: 'm:f'}"], "letters, digits and '_'"),
        (["evaluation.custom_metrics.mine=no_function"], "allowed: MODULE:FUNCTION"),
        (["evaluation.answer_pattern=(["], "no regular expression"),
        (["evaluation.answer_schema={type: nonsense}"], "answer_schema['type'] is no JSON schema"),
    ],
)
def test_metrics_that_cannot_be_are_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(RequestError) as caught:
        load_config("tiny", overrides)
    assert words in str(caught.value)


def test_a_metric_of_ones_own_may_decide() -> None:
    config = check_config(
        {
            "evaluation": {"custom_metrics": {"value": CHECKER}, "answer_pattern": ".*"},
            "gate": {"primary_metrics": ["value", "format_valid"]},
        }
    )
    assert config.evaluation.metric_names[-2:] == ("format_valid", "value")
    assert config.gate.primary_metrics == ("value", "format_valid")


def test_a_function_in_a_file_is_held_relative_to_the_clone() -> None:
    config = load_config("tiny", [f"evaluation.custom_metrics.value={CHECKER}"])
    assert config.evaluation.custom_metrics == {"value": CHECKER}
    config = load_config("tiny", ["evaluation.custom_metrics.value=package.module:score"])
    assert config.evaluation.custom_metrics == {"value": "package.module:score"}


def test_slices_do_not_change_what_is_answered() -> None:
    plain, sliced = load_config("tiny"), load_config("tiny", ["evaluation.slice_by=[kind]"])
    assert sliced.evaluation.slice_by == ("kind",)
    assert plain.evaluation.describes_predictions == sliced.evaluation.describes_predictions
