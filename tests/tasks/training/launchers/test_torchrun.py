"""Two processes train as one does; a killed one starts again; a told one saves."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from configs.errors import RequestError
from configs.schema import TrainingConfig
from tasks.records.writing import write_json
from tasks.training.launchers.agent import FAILURE, find_cause
from tasks.training.launchers.launch import launch_training
from tasks.training.launchers.outcome import JOB, is_out_of_memory, read_error, record_error
from tasks.training.launchers.request import TrainingRequest, read_request, write_request
from tasks.training.launchers.torchrun import explain_failure
from tasks.training.result import TrainingResult
from tasks.training.setting import MemoryRanOutError
from tests.tasks.training.conftest import LORA, TRAINING
from tests.tasks.training.test_train import Recorder, change, read_history

# 42 examples, 4 a step: the last step of an epoch has two, so that a process has an empty row.
ONE: TrainingConfig = change(TRAINING, packing=False, eval_steps=5, save_total_limit=9)
TWO: TrainingConfig = change(ONE, num_gpus=2, gradient_accumulation_steps=1, max_steps=22)


def make_request(
    formatted: Path, base: Path, out: Path, training: TrainingConfig
) -> TrainingRequest:
    out.mkdir(parents=True, exist_ok=True)
    return TrainingRequest(formatted, base, "abc", out, LORA, training)


def find_ranks(out: Path) -> dict[int, int]:
    """Return the process ids of the ranks."""
    found = (out / "launch").glob("rank-*.pid")
    return {int(path.stem.split("-")[1]): int(path.read_text()) for path in found}


class Sender(Recorder):
    """Sends a signal to a process after an optimiser step, once."""

    def __init__(self, step: int, out: Path, rank: int | None) -> None:
        super().__init__()
        self.step, self.out, self.rank = step, out, rank
        self.is_sent = False

    def report_progress(self, done: int, total: int, unit: str) -> None:
        super().report_progress(done, total, unit)
        if done >= self.step and not self.is_sent:
            self.is_sent = True
            if self.rank is None:
                os.kill(os.getpid(), signal.SIGTERM)
            else:
                os.kill(find_ranks(self.out)[self.rank], signal.SIGKILL)


def check_same(result: TrainingResult, expected: TrainingResult) -> None:
    """Compare everything that is logged, and what was chosen."""
    found, wanted = read_history(result), read_history(expected)
    assert [sorted(record) for record in found] == [sorted(record) for record in wanted]
    for record, other in zip(found, wanted, strict=True):
        assert record == pytest.approx(other, rel=1e-5)
    assert (result.best_step, result.num_steps) == (expected.best_step, expected.num_steps)
    assert result.num_trainable_parameters == expected.num_trainable_parameters
    assert result.metrics["eval_loss"] == pytest.approx(expected.metrics["eval_loss"], rel=1e-5)


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_train_as_one_although_one_is_killed(
    base: Path, formatted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = launch_training(make_request(formatted, base, tmp_path / "one", ONE), Recorder())
    out = tmp_path / "two"
    observer = Sender(12, out, rank=1)
    with caplog.at_level(logging.INFO, "hone"):
        two = launch_training(make_request(formatted, base, out, TWO), observer)
    assert "process 1 of the training was killed by signal 9; training goes on" in caplog.text
    assert "steps 11 to 22" in caplog.text  # the log of the first process, as our own
    check_same(two, one)
    assert observer.progress[-1] == (22, 22, "step")
    assert sorted(observer.texts) == [f"samples-{step}" for step in (10, 15, 20, 22, 5)]
    assert {step for step, logs in observer.metrics if "eval_loss" in logs} == {5, 10, 15, 20, 22}
    assert (out / "model" / "adapter_model.safetensors").is_file()
    assert not (out / "launch").exists()


@pytest.mark.slow
def test_a_base_spread_over_two_processes_trains_as_a_whole_one(
    base: Path, formatted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = change(ONE, max_steps=11, gradient_checkpointing="on")
    two = change(TWO, max_steps=11, gradient_checkpointing="on", fsdp=True)
    expected = launch_training(make_request(formatted, base, tmp_path / "one", one), Recorder())
    observer = Recorder()
    with caplog.at_level(logging.INFO, "hone"):
        request = make_request(formatted, base, tmp_path / "two", two)
        result = launch_training(request, observer)
    assert "FSDP2: 2 decoder blocks are spread over the devices" in caplog.text
    check_same(result, expected)
    for name in ("samples.md", "model/adapter_config.json"):
        written = [(tmp_path / out / name).read_text() for out in ("one", "two")]
        assert written[0] == written[1]


class ToldToEnd(BaseException):
    """What the command line's or Prefect's handler raises."""


def raise_told(*_: object) -> None:
    raise ToldToEnd


@pytest.mark.long
@pytest.mark.slow
def test_told_to_end_all_save_one_step_and_go_on_exactly(
    base: Path, formatted: Path, tmp_path: Path
) -> None:
    dropout = change(LORA, lora_dropout=0.1)
    rare = change(TWO, eval_steps=11)  # so that the step saved at the end is no regular one
    whole = make_request(formatted, base, tmp_path / "whole", rare)
    expected = launch_training(replace(whole, model=dropout), Recorder())
    out = tmp_path / "told"
    request = replace(make_request(formatted, base, out, rare), model=dropout)
    previous = signal.signal(signal.SIGTERM, raise_told)
    try:
        with pytest.raises(ToldToEnd):
            launch_training(request, Sender(12, out, rank=None))
    finally:
        signal.signal(signal.SIGTERM, previous)
    steps = {int(path.name.split("-")[1]) for path in (out / "checkpoints").glob("checkpoint-*")}
    assert max(steps) in range(12, 22)
    assert not (out / "model").exists()
    result = launch_training(request, Recorder())
    assert read_history(result) == read_history(expected)
    name = "model/adapter_model.safetensors"
    assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_error_of_a_process_is_ours(tmp_path: Path) -> None:
    error = RequestError(where="training.x", message="found 3", allowed="2", problems=("a", "b"))
    with pytest.raises(RequestError), record_error(tmp_path, 1):
        raise error
    write_json(tmp_path / FAILURE, {"rank": 1, "exit_code": 1})
    found, is_crash = explain_failure(tmp_path, tmp_path / "log")
    assert not is_crash
    assert type(found) is RequestError
    assert found.to_dict() == error.to_dict()


def test_a_bug_in_a_process_is_shown_and_not_tried_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), record_error(tmp_path, 0):
        _ = 1 / 0
    write_json(tmp_path / FAILURE, {"rank": 0, "exit_code": 1})
    found, is_crash = explain_failure(tmp_path, tmp_path / "log")
    assert not is_crash
    assert "ZeroDivisionError" in found.message
    assert "test_torchrun.py" in "".join(found.problems)


def test_what_died_without_a_word_is_tried_again(tmp_path: Path) -> None:
    assert explain_failure(tmp_path, tmp_path / "log")[1]
    with pytest.raises(RuntimeError), record_error(tmp_path, 0):
        raise RuntimeError("connection closed by peer")
    write_json(tmp_path / FAILURE, {"rank": 1, "exit_code": -9})
    found, is_crash = explain_failure(tmp_path, tmp_path / "log")
    assert is_crash
    assert "process 1 of the training was killed by signal 9" in found.message


def test_what_ran_out_of_memory_starts_again_without_an_error(tmp_path: Path) -> None:
    assert not is_out_of_memory(tmp_path)
    with pytest.raises(MemoryRanOutError), record_error(tmp_path, 1):
        raise MemoryRanOutError
    assert is_out_of_memory(tmp_path)
    assert read_error(tmp_path, 1) is None


def test_the_killed_process_is_the_cause() -> None:
    failures = {
        0: SimpleNamespace(exitcode=1, timestamp=10),
        1: SimpleNamespace(exitcode=-9, timestamp=11),
        2: SimpleNamespace(exitcode=-15, timestamp=9),
    }
    assert find_cause(failures) == (1, -9)
    del failures[1]
    assert find_cause(failures) == (0, 1)


def test_a_request_survives_its_file(tmp_path: Path) -> None:
    request = TrainingRequest(
        tmp_path / "formatted", "org/model", "abc", tmp_path, LORA, TWO, tmp_path / "teacher", "def"
    )
    write_request(tmp_path / JOB, request)
    assert read_request(tmp_path / JOB) == request
