"""A packed row holds its examples, and its targets are exactly the trained tokens."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.training.collator import IGNORE_INDEX, build_inputs, pack_row

TOKENS = st.lists(st.tuples(st.integers(0, 99), st.booleans()), min_size=1, max_size=12)


def make_example(tokens: list[tuple[int, bool]]) -> tuple[list[int], list[int]]:
    ids = [token for token, _ in tokens]
    labels = [token if is_trained else IGNORE_INDEX for token, is_trained in tokens]
    return ids, [IGNORE_INDEX, *labels[1:]]


@given(st.lists(TOKENS, min_size=1, max_size=6))
def test_a_row_is_its_examples_one_after_the_other(rows: list[list[tuple[int, bool]]]) -> None:
    examples = [make_example(tokens) for tokens in rows]
    row = pack_row(examples)
    assert row.input_ids[0].tolist() == [token for ids, _ in examples for token in ids]
    assert row.position_ids[0].tolist() == [p for ids, _ in examples for p in range(len(ids))]
    assert row.cu_seq_lens.diff().tolist() == [len(ids) for ids, _ in examples]
    assert row.max_length == max(len(ids) for ids, _ in examples)
    trained = [label for _, labels in examples for label in labels if label != IGNORE_INDEX]
    assert row.targets.tolist() == trained
    assert sum(row.num_trained) == len(trained)
    predicted = row.logits_to_keep + 1  # never across the border of two examples
    assert torch.equal(row.input_ids[0][predicted], row.targets)
    assert not set(predicted.tolist()) & set(row.cu_seq_lens.tolist())


def test_no_example_gives_a_row_without_targets() -> None:
    row = pack_row([])
    assert row.input_ids.shape == (1, 1)
    assert row.targets.numel() == 0


def test_no_mask_and_no_cache_reach_the_model() -> None:
    inputs = build_inputs(pack_row([([1, 2], [-100, 2])]), is_varlen=True)
    assert inputs["attention_mask"] is None
    assert inputs["use_cache"] is False
    assert isinstance(inputs["max_length_q"], int)
