from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from configs.load import load_config
from configs.retraining import RetrainRules
from configs.schema import DataConfig, RunConfig
from tasks.diff import DataDiff
from tasks.publishing.candidates import ChampionRecord, Lineage
from tasks.records.handles import DataVersion, PinnedModel
from tasks.version import pin_inputs
from tasks.weigh import RetrainChoice, apply_rules, begin_attempt, choose, end_attempt, read_attempt
from tests.flows.running import make_row, write_rows

BASE = PinnedModel(name="base", revision="0" * 40, location="data/tiny-base")


def pin(folder: Path, num_rows: int) -> DataVersion:
    """Put a folder of so many rows into the store."""
    write_rows(folder / "train.jsonl", (make_row(f"Put {n} away.") for n in range(num_rows)))
    return pin_inputs(DataConfig(source=str(folder), pattern=None), RunConfig().model)


def publish_on(data: DataVersion) -> ChampionRecord:
    """Return a champion that was trained on some data."""
    lineage = Lineage(
        name="small", candidate_digest="c", model_files=(), base=BASE, method="lora",
        dtype="float32", kind="messages", template_digest="t", data_source=data.source,
        data_commit=data.commit, splits={}, run="r", code_revision="0", decision_digest="d",
        replaces=None, versions={},
    )  # fmt: skip
    return ChampionRecord(name="small", version="1", path="p", digest="c", lineage=lineage)


@pytest.fixture
def config() -> RunConfig:
    return load_config("tiny", ["publish.name=small"])


@pytest.mark.parametrize(
    ("counts", "rules", "expected"),
    [
        ((5, 0, 0), RetrainRules(min_new_rows=5), True),
        ((3, 0, 1), RetrainRules(min_new_rows=5), False),
        ((3, 0, 2), RetrainRules(min_new_rows=5), True),
        ((0, 9, 0), RetrainRules(), False),
        ((0, 9, 0), RetrainRules(min_changed_fraction=0.1), False),
        ((0, 9, 1), RetrainRules(min_new_rows=50, min_changed_fraction=0.1), True),
    ],
)
def test_new_rows_or_a_changed_fraction_are_enough(
    counts: tuple[int, int, int], rules: RetrainRules, expected: bool
) -> None:
    added, removed, changed = counts
    diff = DataDiff(
        first="a", second="b", added=added, removed=removed, changed=changed, files=(),
        num_equal_files=0,
    )  # fmt: skip
    choice = apply_rules(diff, rules, num_rows=100)
    assert choice.is_worth_it is expected
    assert (choice.new_rows, choice.removed_rows) == (added + changed, removed)
    assert f"{added} rows added, {changed} changed, {removed} removed" in choice.reason


def test_the_champions_data_is_not_trained_on_again(
    home: Path, tmp_path: Path, config: RunConfig
) -> None:
    before = pin(tmp_path / "data", 10)
    champion = publish_on(before)

    def weigh(data: DataVersion, **rules: int) -> RetrainChoice:
        return choose(champion, data, config, RetrainRules(**rules), num_rows=12)

    assert weigh(before).reason.startswith("the data is that of the champion")
    # Another commit of the same bytes, as lakeFS makes one whenever anything else is written.
    other = before.model_copy(update={"commit": "f" * 40})
    assert not weigh(other).is_worth_it
    after = pin(tmp_path / "data", 12)
    assert not weigh(after, min_new_rows=3).is_worth_it
    choice = weigh(after, min_new_rows=2)
    assert (choice.is_worth_it, choice.new_rows, choice.removed_rows) == (True, 2, 0)
    gone = publish_on(before.model_copy(update={"commit": "e" * 40}))
    lost = choose(gone, after, config, RetrainRules(), num_rows=12)
    assert lost.is_worth_it
    assert "cannot be compared with" in lost.reason


def test_a_rival_a_wait_and_a_repeat_are_skipped(
    home: Path, tmp_path: Path, config: RunConfig
) -> None:
    data = pin(tmp_path / "data", 10)
    rules = RetrainRules(min_hours_between=2)
    assert choose(None, data, config, rules, 10).is_worth_it
    rival = choose(None, data, config, rules, 10, rival="the flow run nice-owl trains small")
    assert rival == RetrainChoice(is_worth_it=False, reason="the flow run nice-owl trains small")

    attempt = begin_attempt(data, config)
    # It died on the way: the same goes on at once, another one waits.
    assert choose(None, data, config, rules, 10).is_worth_it
    other = load_config("tiny", ["publish.name=small", "training.seed=6"])
    assert "the last retraining began" in choose(None, data, other, rules, 10).reason
    assert choose(None, data, other, RetrainRules(), 10).is_worth_it
    old = attempt.model_copy(update={"started": datetime.now(UTC) - timedelta(hours=2.1)})
    end_attempt(old, "small", "inconclusive")
    repeat = choose(None, data, config, rules, 10)
    assert not repeat.is_worth_it
    assert "by the same configuration: inconclusive" in repeat.reason
    # A hook names each commit anew: the same bytes elsewhere are no reason.
    moved = load_config("tiny", ["publish.name=small", "data.source=lakefs://rows/c0ffee/train"])
    assert "by the same configuration" in choose(None, data, moved, rules, 10).reason
    changed = load_config("tiny", ["publish.name=small", "training.seed=7"])
    assert choose(None, data, changed, rules, 10).is_worth_it
    assert read_attempt("small") == old.model_copy(update={"verdict": "inconclusive"})
    assert read_attempt("other") is None


def test_against_a_champion_that_cannot_be_loaded_nothing_can_be_decided(
    home: Path, tmp_path: Path, config: RunConfig
) -> None:
    data = pin(tmp_path / "data", 10)
    broken = publish_on(data).model_copy(update={"lineage": None, "problem": "its folder is gone"})
    choice = choose(broken, data, config, RetrainRules(), 10)
    assert not choice.is_worth_it
    assert "its folder is gone" in choice.reason
