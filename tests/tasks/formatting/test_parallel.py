from __future__ import annotations

import math
import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

from configs.errors import RequestError, RunError
from tasks.formatting.intake.data_intake import list_sources
from tasks.formatting.parallel import LEAST_BYTES, MAX_PROCESSES, count_processes, run_jobs


def test_few_jobs_are_done_here() -> None:
    assert count_processes(1000, LEAST_BYTES - 1) == 1
    assert 1 <= count_processes(1000, LEAST_BYTES) <= MAX_PROCESSES


@pytest.mark.parametrize("num_processes", [1, 2])
def test_answers_come_in_the_order_of_the_jobs(num_processes: int) -> None:
    assert list(run_jobs(math.factorial, range(40), num_processes)) == [
        math.factorial(n) for n in range(40)
    ]


def test_workers_carry_no_pytorch() -> None:
    assert list(run_jobs(find_spec, ["torch"], 2)) == [None]


def test_an_error_of_a_job_is_the_error_of_the_run(tmp_path: Any) -> None:
    (tmp_path / "eval" / "train").mkdir(parents=True)
    with pytest.raises(RequestError, match="an evaluation set named train"):
        list(run_jobs(list_sources, [tmp_path], 2))


def test_a_process_that_is_killed_is_said_so() -> None:
    end: Callable[[int], Any] = os._exit
    with pytest.raises(RunError, match="ended from outside"):
        list(run_jobs(end, [9], 2))
