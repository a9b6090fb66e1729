from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.formatting.splits.components import find_first, join_equal, join_pairs

PAIRS = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30)


@given(PAIRS)
def test_joined_rows_have_the_smallest_row_of_their_component_as_root(
    pairs: list[tuple[int, int]],
) -> None:
    members = [{n} for n in range(20)]
    for first, second in pairs:
        joined = members[first] | members[second]
        for row in joined:
            members[row] = joined
    columns = np.array(pairs, np.int64).reshape(-1, 2)
    roots = join_pairs(np.arange(20), columns[:, 0], columns[:, 1])
    assert roots.tolist() == [min(component) for component in members]


@given(st.lists(st.integers(0, 5), max_size=20))
def test_equal_keys_are_joined(keys: list[int]) -> None:
    roots = join_equal(np.arange(len(keys)), np.array(keys, np.int64))
    assert roots.tolist() == [keys.index(key) for key in keys]


@given(st.lists(st.integers(0, 9), max_size=20), st.lists(st.integers(0, 9), max_size=20))
def test_the_first_place_of_a_key_is_found(keys: list[int], known: list[int]) -> None:
    found = find_first(np.array(keys, np.uint64), np.array(known, np.uint64))
    assert found.tolist() == [known.index(key) if key in known else -1 for key in keys]
