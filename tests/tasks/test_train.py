"""The train task: what determines a training, its teacher included."""

from __future__ import annotations

import pytest

from configs.errors import RequestError
from configs.load import load_config
from tasks.train import find_teacher


def test_a_teacher_is_pinned_by_its_content() -> None:
    config = load_config("tiny", ["training.teacher=data/tiny-base"])
    teacher = find_teacher(config)
    assert teacher is not None
    assert len(teacher.revision) == 40
    assert find_teacher(load_config("tiny")) is None


def test_a_missing_teacher_is_named_by_its_key() -> None:
    config = load_config("tiny", ["training.teacher=./no-such-model"])
    with pytest.raises(RequestError) as caught:
        find_teacher(config)
    assert caught.value.where.startswith("training.teacher=")
