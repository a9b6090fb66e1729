"""Guards that the data cannot answer are refused before anything is trained."""

from pathlib import Path
from typing import Any

import pytest

from configs.errors import RequestError
from configs.schema import GateConfig, GuardConfig, RunConfig
from tasks.format import check_gate
from tasks.formatting.rows.examples import Example, Message, write_examples
from tasks.records.handles import FormattedData, RowCounts, SplitRecord


def make_example(number: int) -> Example:
    turns = (Message("user", f"question {number}"), Message("assistant", "yes"))
    fields = {"kind": "write" if number % 2 else "explain"}
    return Example(f"id{number}", f"g{number}", turns, "", f"test.jsonl:{number}", fields)


@pytest.fixture
def formatted(home: Path) -> FormattedData:
    write_examples(home / "data" / "examples" / "test.jsonl", [make_example(n) for n in range(4)])
    split = SplitRecord(rows=4, groups=4, tokens=40, trained_tokens=8, digest="d" * 64)
    return FormattedData(
        path="data", digest="f" * 64, kind="messages", rows=RowCounts(read=12, kept=12),
        splits=dict.fromkeys(("train", "validation", "test"), split), template_digest="t" * 64,
        primary_metrics=("exact_match",),
    )  # fmt: skip


def guard(**fields: Any) -> RunConfig:
    return RunConfig(gate=GateConfig(guards=(GuardConfig(**{"metric": "nll"} | fields),)))


@pytest.mark.parametrize("fields", [{}, {"slice": "kind"}, {"slice": {"kind": "write"}}])
def test_guards_of_what_is_there_are_accepted(
    formatted: FormattedData, fields: dict[str, Any]
) -> None:
    check_gate(formatted, guard(**fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split": "golden"}, r"guards\[0\].split: there is no .* 'golden'; allowed: test"),
        ({"split": "train"}, r"guards\[0\].split: .*; allowed: test"),
        ({"slice": "colour"}, r"guards\[0\].slice: no row has a field 'colour'; allowed: kind"),
        ({"slice": {"kind": "x"}}, r"no row has kind=x; allowed: kind=explain, kind=write"),
    ],
)
def test_guards_of_what_is_not_there_are_refused(
    formatted: FormattedData, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        check_gate(formatted, guard(**fields))


def test_text_rows_have_no_answers_to_guard(formatted: FormattedData) -> None:
    text = formatted.model_copy(update={"kind": "text", "primary_metrics": ("nll",)})
    check_gate(text, guard(metric="perplexity"))
    with pytest.raises(RequestError, match=r"guards\[0\].metric: text rows have no answers"):
        check_gate(text, guard(metric="exact_match"))


def test_a_guard_of_a_metric_that_is_not_computed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gate\.guards names 'bleu'"):
        RunConfig.model_validate(
            {"evaluation": {"metrics": ["exact_match"]}, "gate": {"guards": [{"metric": "bleu"}]}}
        )
