"""Which launcher is taken, what a host can do, and who ends a training of other processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from configs.errors import RequestError
from configs.schema import ModelConfig, RunConfig, TrainingConfig
from tasks.training.devices import Device
from tasks.training.launchers import launch
from tasks.training.launchers.events import EventReader, EventWriter
from tasks.training.launchers.launch import StoppingObserver, check_devices, choose_launcher
from tasks.training.stopping import TrainingStopped
from tests.tasks.training.test_train import Recorder


def test_several_devices_are_for_torchrun() -> None:
    assert choose_launcher(TrainingConfig()) == "process"
    assert choose_launcher(TrainingConfig(num_gpus=2)) == "torchrun"
    assert choose_launcher(TrainingConfig(num_gpus=2, launcher="ray")) == "ray"
    assert choose_launcher(TrainingConfig(launcher="torchrun")) == "torchrun"


@pytest.mark.parametrize(
    "fields",
    [
        {"num_gpus": 2, "launcher": "process"},
        {"num_gpus": 2, "objective": "dpo"},
        {"num_gpus": 2, "engine": "llamafactory", "packing": False},
        {"fsdp": True},
        {"num_gpus": 2, "fsdp": True, "torch_compile": True},
    ],
)
def test_what_several_devices_do_not_train_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"training\.(num_gpus|launcher|fsdp)"):
        TrainingConfig.model_validate(fields)


@pytest.mark.parametrize("fields", [{"method": "full"}, {"use_dora": True}])
def test_only_a_frozen_base_is_spread(fields: dict[str, object]) -> None:
    training = TrainingConfig(num_gpus=2, fsdp=True)
    RunConfig(training=training)
    with pytest.raises(ValidationError, match="leaves the base as it is"):
        RunConfig(training=training, model=ModelConfig.model_validate(fields))


def test_more_gpus_than_there_are_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Device("cuda", "NVIDIA H200", 2**37, has_bfloat16=True)
    monkeypatch.setattr(launch, "detect_device", lambda: gpu)
    monkeypatch.setattr(launch, "count_gpus", lambda: 2)
    check_devices(TrainingConfig(num_gpus=2))
    with pytest.raises(RequestError, match="1 to 2"):
        check_devices(TrainingConfig(num_gpus=3))


def test_an_observer_ends_a_training_that_nobody_wants() -> None:
    heard = Recorder()
    observer = StoppingObserver(heard, lambda _, metrics: metrics["eval_loss"] > 3)
    observer.report_progress(5, 20, "step")
    observer.report_metrics({"loss": 9.0}, 5)
    observer.report_metrics({"eval_loss": 2.0}, 5)
    with pytest.raises(TrainingStopped, match="step 10"):
        observer.report_metrics({"eval_loss": 4.0}, 10)
    observer.report_metrics({"eval_loss": 4.0}, 20)  # the last validation: it is over anyway
    assert [step for step, _ in heard.metrics] == [5, 5, 10, 20]


def test_events_arrive_once_and_whole(tmp_path: Path) -> None:
    heard = Recorder()
    reader = EventReader(tmp_path / "events", heard)
    reader.look()
    writer = EventWriter(tmp_path / "events")
    writer.report_metrics({"loss": 1.5}, 3)
    writer.report_text("name", "two\nlines, 100 %")
    with (tmp_path / "events").open("a") as file:
        file.write('["progress", 1')  # of a process that is killed now
    reader.look()
    reader.look()
    assert heard.metrics == [(3, {"loss": 1.5})]
    assert heard.texts == {"name": "two\nlines, 100 %"}
    assert heard.progress == []
    with (tmp_path / "events").open("a") as file:
        file.write(', 9, "step"]\n')
    reader.look()
    writer.close()
    assert heard.progress == [(1, 9, "step")]


def test_the_half_line_of_a_killed_process_spoils_no_other(tmp_path: Path) -> None:
    (tmp_path / "events").write_text('["metrics", {"loss": 1.0}, 1]\n["text", "a", "b')
    heard = Recorder()
    writer = EventWriter(tmp_path / "events")
    writer.report_progress(2, 9, "step")
    writer.close()
    EventReader(tmp_path / "events", heard).look()
    assert heard.metrics == [(1, {"loss": 1.0})]
    assert heard.progress == [(2, 9, "step")]
    assert heard.texts == {}
