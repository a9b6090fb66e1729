"""Judged answers and their batches: the same tokens as supervised training, exactly compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

from configs.errors import RequestError
from configs.schema import TrainingConfig
from tasks.formatting.rendering.renderer import Renderer
from tasks.formatting.rows.examples import Message
from tasks.training.objectives.answers import JudgedSplit, check_labels, judge_split
from tasks.training.objectives.batches import (
    collate_labelled,
    collate_pairs,
    collate_sides,
    plan_batches,
    split_evenly,
)
from tasks.training.objectives.means import MetricMeans
from tasks.training.plan import plan_training
from tasks.training.tokens import open_split
from tests.tasks.training.conftest import write_formatted
from tests.tasks.training.objectives.conftest import make_labelled, make_pairs


def judge(folder: Path, renderer: Renderer, objective: str, name: str = "train") -> JudgedSplit:
    split = open_split(folder, name)
    assert split is not None
    return judge_split(folder, split, renderer, objective=objective, max_length=128)


def test_pairs_are_what_trl_would_collate(pairs: Path, renderer: Renderer) -> None:
    """Of one turn each, whose last trained token ends the row, TRL makes the same tensors."""
    judged = judge(pairs, renderer, "dpo")
    batch = collate_pairs(judged, [3, 0, 7], pad_token_id=0)
    chosen = judged.read_answers([3, 0, 7])
    rows = [
        {
            "prompt_ids": a.prompt,
            "chosen_ids": a.input_ids[a.start :],
            "rejected_ids": b.input_ids[b.start :],
        }
        for a, b in zip(chosen, [judged.rejected[i] for i in (3, 0, 7)], strict=True)
    ]
    expected = DataCollatorForPreference(pad_token_id=0)(rows)
    assert batch.tensors["input_ids"].equal(expected["input_ids"])
    assert batch.tensors["attention_mask"].equal(expected["attention_mask"])
    # The line break after the end token is not trained on: TRL would count it to the answer.
    assert (batch.tensors["completion_mask"] <= expected["completion_mask"]).all()
    assert (expected["completion_mask"].sum(1) - batch.tensors["completion_mask"].sum(1) == 1).all()
    assert batch.num_examples == 3
    assert batch.padded_tokens == batch.tensors["input_ids"].numel()


def test_chosen_answers_are_those_of_supervised_training(pairs: Path, renderer: Renderer) -> None:
    judged = judge(pairs, renderer, "orpo")
    batch = collate_sides(judged, [5], pad_token_id=0)
    row = judged.split.dataset[5]
    assert batch.tensors["chosen_input_ids"][0].tolist() == row["input_ids"]
    assert batch.tensors["chosen_labels"][0].tolist() == row["labels"]


def test_foreign_answers_are_those_of_the_other_prompts(labelled: Path, renderer: Renderer) -> None:
    judged = judge(labelled, renderer, "kto")
    batch = collate_labelled(judged, [0, 1, 2], pad_token_id=0)
    answers = judged.read_answers([0, 1, 2])
    rows = [
        {
            "prompt_ids": own.prompt,
            "completion_ids": own.input_ids[own.start :],
            "KL_completion_ids": other.input_ids[other.start :],
            "label": judged.labels[i],
        }
        for i, (own, other) in enumerate(zip(answers, [answers[2], *answers[:2]], strict=True))
    ]
    expected = DataCollatorForUnpairedPreference(pad_token_id=0, max_length=128)(rows)
    for name in ("input_ids", "KL_input_ids", "KL_attention_mask", "label"):
        assert batch.tensors[name].equal(expected[name]), name
    alone = collate_labelled(judged, [4], pad_token_id=0)
    assert not alone.tensors["KL_input_ids"].equal(alone.tensors["input_ids"])


def test_conversations_are_compared_from_where_they_part(
    tmp_path: Path, renderer: Renderer
) -> None:
    """Several turns after the shared ones; only assistant turns are compared."""
    opening = (Message("user", "hi"), Message("assistant", "hello", is_trained=False))
    pair = replace(
        make_pairs(1, seed=3)[0],
        messages=(*opening, Message("user", "one plus two?"), Message("assistant", "three")),
        rejected=(Message("assistant", "no"),),
        rejected_at=3,
    )
    write_formatted(tmp_path, renderer, {"train": [pair]})
    judged = judge(tmp_path, renderer, "dpo")
    (chosen,) = judged.read_answers([0])
    assert judged.rejected[0].prompt == chosen.prompt
    trained = [i for i, label in zip(chosen.input_ids, chosen.labels, strict=True) if label != -100]
    assert renderer.decode(trained) == "three"


def test_other_prompts_are_refused(tmp_path: Path, renderer: Renderer) -> None:
    pair = replace(
        make_pairs(1, seed=3)[0],
        rejected=(Message("user", "why?"), Message("assistant", "no")),
    )
    broken = replace(pair, rejected_at=0)
    write_formatted(tmp_path, renderer, {"train": [broken]})
    with pytest.raises(RequestError, match="the prompt of the rejected answer otherwise"):
        judge(tmp_path, renderer, "dpo")


def test_labels_of_one_kind_are_refused(tmp_path: Path, renderer: Renderer) -> None:
    examples = [replace(example, label=True) for example in make_labelled(4, seed=1)]
    write_formatted(tmp_path, renderer, {"train": examples})
    with pytest.raises(RequestError, match="all 4 training answers are desired"):
        check_labels(judge(tmp_path, renderer, "kto"))


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 3))
def test_steps_are_split_evenly(count: int, batch_size: int, spare: int) -> None:
    row = tuple(range(count))
    full = -(-count // batch_size)
    batches = split_evenly(row, batch_size, full + spare)
    assert len(batches) == full + spare
    assert tuple(i for batch in batches for i in batch) == row
    sizes = [len(batch) for batch in batches if batch]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


def test_every_step_learns_from_the_examples_that_packing_would_give_it() -> None:
    training = TrainingConfig(
        num_train_epochs=2, per_device_train_batch_size=3, gradient_accumulation_steps=2,
        packing=False,
    )  # fmt: skip
    plan = plan_training([5] * 20, training)
    batches = plan_batches(plan, 3)
    assert batches.rows_per_step == 2
    assert len(batches.rows) == 2 * plan.num_steps
    for step in range(1, plan.num_steps + 1):
        assert batches.find_examples(step) == plan.find_examples(step)


def test_means_do_not_depend_on_batches(labelled: Path, renderer: Renderer) -> None:
    judged = judge(labelled, renderer, "kto")
    means = MetricMeans()
    for indices, chosen in (([0, 1, 2], 1.0), ([3], 4.0)):
        batch = collate_labelled(judged, indices, pad_token_id=0)
        means.add({"rewards/chosen": chosen, "kl": chosen, "logits/chosen": 9.0}, batch)
    found = means.take("eval_")
    counts = [sum(judged.labels[:3]), int(judged.labels[3])]
    assert found["eval_kl"] == (3 * 1.0 + 4.0) / 4
    assert found["eval_rewards/chosen"] == (counts[0] + 4 * counts[1]) / sum(counts)
    assert "eval_logits/chosen" not in found
    assert means.take() == {}


def test_the_tokens_of_both_answers_are_counted(pairs: Path, renderer: Renderer) -> None:
    judged = judge(pairs, renderer, "dpo")
    batch = collate_pairs(judged, [3, 0, 7], pad_token_id=0)
    assert judged.count_tokens([3, 0, 7]) == batch.num_tokens
