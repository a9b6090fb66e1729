import pytest

from configs.schema import GateConfig
from tasks.evaluation.changes import sort_changes
from tasks.evaluation.gate import ArmEvidence, decide
from tasks.evaluation.intervals import bound_splits
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.report import render_report
from tasks.evaluation.shown_examples import quote_text, render_changes
from tasks.evaluation.tables import render_table
from tasks.records.handles import (
    Arm,
    DataVersion,
    Decision,
    Evaluation,
    FormattedData,
    PinnedModel,
    Publication,
    RowCounts,
    SplitRecord,
    TrainedModel,
)
from tests.tasks.evaluation.rows import make_rows

BASE = PinnedModel(name="data/tiny-base", revision="ab" * 20, location="data/tiny-base")
PLACE = {"path": "cache/x", "digest": "cd" * 32}


@pytest.fixture
def arms() -> dict[Arm, dict[str, list[Prediction]]]:
    return {
        "finetuned": {"test": make_rows([1.0] * 30 + [0.0] * 10), "dev": make_rows([1.0] * 9)},
        "baseline": {"test": make_rows([0.0] * 38 + [1.0] * 2), "dev": make_rows([0.0] * 9)},
    }


@pytest.fixture
def decision(arms: dict[Arm, dict[str, list[Prediction]]]) -> Decision:
    result = decide(
        {arm: ArmEvidence(splits) for arm, splits in arms.items()},
        primary_metrics=["exact_match"], gate=GateConfig(), alpha=0.0152,
    )  # fmt: skip
    return Decision(
        **PLACE, verdict=result.verdict, reasons=result.reasons, checks=result.checks,
        model_name="flowroll-tiny", candidate_digest="ef" * 32, champion_version=None,
        evidence={}, look=1, alpha=0.0152,
        smallest_detectable_gain=result.smallest_detectable_gain,
    )  # fmt: skip


def test_a_whole_report(arms: dict[Arm, dict[str, list[Prediction]]], decision: Decision) -> None:
    intervals = {arm: bound_splits(splits, ["exact_match", "nll"]) for arm, splits in arms.items()}
    trained = TrainedModel(
        **PLACE, base=BASE, method="lora", dtype="float32", template_digest="t",
        num_parameters=1_000_000, num_trainable_parameters=50_000, num_bytes=200_000,
        num_steps=300, best_step=250, metrics={"train_loss": 0.5},
    )  # fmt: skip
    split = SplitRecord(rows=40, groups=40, tokens=1234, trained_tokens=567, digest="d")
    formatted = FormattedData(
        **PLACE, kind="messages", rows=RowCounts(read=900, kept=890, invalid=4, filtered=6, cut=1),
        splits={"test": split}, template_digest="t", primary_metrics=("exact_match",),
    )  # fmt: skip
    data = DataVersion(
        **PLACE, source="data/flowroll", commit="12" * 32, num_files=4, num_bytes=99, base=BASE
    )
    values = {"test": {"exact_match": 0.75, "tokens_per_second": 4321.0}}
    evaluation = Evaluation(
        **PLACE, arm="finetuned", model_digest="m", template_digest="t", metrics=values
    )
    published = Publication(
        **PLACE, name="flowroll-tiny", version="3", uri="models:/flowroll-tiny/3",
        decision_digest="cd" * 32,
    )  # fmt: skip
    text = render_report(
        title="Run 7", decision=decision, publication=published, predictions=arms,
        evaluations={"finetuned": evaluation}, intervals=intervals, trained=trained,
        formatted=formatted, data=data, plots={"Loss": "plots/loss.png"},
        links={"MLflow": "http://localhost:5000"},
    )  # fmt: skip
    order = [
        "# Run 7", "## Verdict: Better", "- exact_match on test: 0.75",
        "exact_match on test (primary)",
        "Published as `flowroll-tiny` version 3", "## Metrics", "### test", "### dev",
        "fine-tuned 4,321", "![Loss](plots/loss.png)", "30 won, 2 lost", "## Training",
        "50,000 of 1,000,000 (5.00%)", "## Data", "900 rows read: 890 kept, 4 invalid", "1,234",
        "[MLflow](http://localhost:5000)",
    ]  # fmt: skip
    places = [text.find(part) for part in order]
    assert -1 not in places, order[places.index(-1)]
    assert places == sorted(places)


def test_a_run_that_stopped_early_has_a_short_report() -> None:
    text = render_report(title="Run 8")
    assert text == "# Run 8\n"


def test_a_decision_without_publication_says_so(decision: Decision) -> None:
    assert "Nothing was published." in render_report(title="x", decision=decision)


def test_smallest_gains_are_in_words(decision: Decision) -> None:
    text = render_report(title="x", decision=decision)
    assert "if 40% of the answers change" in text


def test_a_cell_cannot_break_the_table() -> None:
    table = render_table(["a", "b"], [["x | y\nz", 1]])
    assert table.splitlines() == ["| a | b |", "| :-- | --: |", "| x \\| y z | 1 |"]


def test_a_text_cannot_break_out_of_its_fence() -> None:
    quoted = quote_text("a\n````\n# b")
    assert quoted.splitlines()[0] == "`````text"
    assert quoted.splitlines()[-1] == "`````"
    assert quote_text("x" * 700).count("[and 100 more characters]") == 1


def test_lost_examples_come_before_won_ones(
    arms: dict[Arm, dict[str, list[Prediction]]],
) -> None:
    changes = sort_changes(arms["baseline"]["test"], arms["finetuned"]["test"])
    text = render_changes(changes, "champion", "test")
    assert "2 won, 30 lost, 8 unchanged." in text
    assert text.index("#### Lost (3 of 30)") < text.index("#### Won (2 of 2)")
    assert "Right answer:" in text
    assert text.count("Fine-tuned:") == 5
