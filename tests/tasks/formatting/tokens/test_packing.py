from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.formatting.tokens.packing import pack_best_fit, plan_steps

BUDGET = 50
lengths_strategy = st.lists(st.integers(1, BUDGET), min_size=1, max_size=200)


@given(lengths_strategy)
def test_packing_holds_every_item_once_within_the_budget(lengths: list[int]) -> None:
    rows = pack_best_fit(lengths, BUDGET)
    assert sorted(item for row in rows for item in row) == list(range(len(lengths)))
    assert all(sum(lengths[item] for item in row) <= BUDGET for row in rows)


@given(lengths_strategy)
def test_packing_needs_at_most_11_9ths_of_the_best_and_one(lengths: list[int]) -> None:
    lower_bound = -(-sum(lengths) // BUDGET)
    halves = sum(2 * length > BUDGET for length in lengths)
    num_rows = len(pack_best_fit(lengths, BUDGET))
    # 11/9 OPT + 1 holds against the optimum; any two rows together hold more than one budget.
    assert num_rows <= max(2 * lower_bound, halves + lower_bound)


def test_an_item_longer_than_a_row_is_refused() -> None:
    with pytest.raises(ValueError, match="lengths from 3 to 9 in rows of 8"):
        pack_best_fit([3, 9], 8)


def test_20000_documents_are_packed_fast_and_full() -> None:
    drawn = np.random.default_rng(0).lognormal(5.5, 0.8, 20_000)
    lengths = np.clip(drawn, 10, 4096).astype(int).tolist()
    started = time.process_time()
    rows = pack_best_fit(lengths, 4096)
    assert time.process_time() - started < 0.5
    assert sum(lengths) / (4096 * len(rows)) > 0.995


@given(lengths_strategy, st.integers(1, 9), st.sampled_from([0.5, 1, 2, 2.5]), st.integers(1, 3))
def test_a_plan_takes_each_example_once_an_epoch(
    lengths: list[int], examples_per_step: int, num_epochs: float, world_size: int
) -> None:
    plan = plan_steps(
        lengths, examples_per_step=examples_per_step, budget=BUDGET, num_epochs=num_epochs, seed=3,
        world_size=world_size,
    )  # fmt: skip
    assert plan.steps_per_epoch == -(-len(lengths) // examples_per_step)
    assert plan.num_steps == -(-num_epochs * plan.steps_per_epoch // 1)
    assert {len(step) for step in plan.steps} == {plan.rows_per_step}
    assert plan.rows_per_step % world_size == 0
    assert plan.row_tokens <= BUDGET
    for start in range(0, plan.num_steps, plan.steps_per_epoch):
        epoch = plan.steps[start : start + plan.steps_per_epoch]
        taken = Counter(item for step in epoch for row in step for item in row)
        assert set(taken.values()) == {1}
        if len(epoch) == plan.steps_per_epoch:
            assert len(taken) == len(lengths)


def test_steps_count_examples_and_not_rows() -> None:
    plan = plan_steps([10] * 100, examples_per_step=16, budget=50, num_epochs=1, seed=0)
    sizes = [sum(map(len, step)) for step in plan.steps]
    assert sizes == [16] * 6 + [4]
    assert plan.rows_per_step == 4
    assert plan.steps[-1][1:] == ((), (), ())


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def plan(seed: int, num_epochs: float) -> list[tuple[int, ...]]:
        steps = plan_steps(
            [5] * 40, examples_per_step=8, budget=40, num_epochs=num_epochs, seed=seed
        ).steps
        return [tuple(sorted(item for row in step for item in row)) for step in steps]

    assert plan(1, 2)[:5] == plan(1, 1)
    assert plan(1, 2)[5:] != plan(1, 1)
    assert plan(1, 1) != plan(2, 1)


def test_without_packing_each_row_holds_one_example() -> None:
    plan = plan_steps([5] * 10, examples_per_step=4, budget=40, num_epochs=1, seed=0, packing=False)
    assert plan.rows_per_step == 4
    assert all(len(row) <= 1 for step in plan.steps for row in step)


def test_no_examples_make_no_plan() -> None:
    with pytest.raises(ValueError, match="no examples"):
        plan_steps([], examples_per_step=4, budget=40, num_epochs=1, seed=0)
