"""The trackers of a training: those that the config names, and what they are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from configs.errors import RequestError
from configs.load import load_config
from configs.schema import RunConfig
from tasks import track
from tasks.records.runs import RunFolder
from tasks.tracking.points import MetricPoint
from tasks.tracking.tensorboard_sink import TensorBoardSink

RUN = RunFolder(path="outputs/runs/20260101T000000-abcd")
DATA: Any = None  # only MLflow's run is told of the data


def configure(report_to: str) -> RunConfig:
    return load_config("tiny", [f"tracking.report_to={report_to}"])


@pytest.mark.parametrize(
    ("report_to", "names"),
    [
        ("[mlflow, tensorboard, wandb]", ["MLflow", "TensorBoard", "W&B"]),
        ("tensorboard", ["TensorBoard"]),
        ("none", []),
        ("[]", []),
        ("[wandb, wandb]", ["W&B"]),
    ],
)
def test_trackers_are_those_that_are_named(
    tmp_path: Path, report_to: str, names: list[str]
) -> None:
    trackers = track.list_trackers(configure(report_to), RUN, DATA, tmp_path)
    assert [tracker.name for tracker in trackers] == names
    assert len({tracker.spool for tracker in trackers}) == len(names)


def test_by_default_mlflow_and_tensorboard() -> None:
    assert load_config("tiny").tracking.report_to == ("mlflow", "tensorboard")


def test_another_tracker_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(RequestError, match="comet_ml") as caught:
        configure("[mlflow, comet_ml]")
    assert "tensorboard" in str(caught.value)


def test_tensorboard_sees_a_training_live(tmp_path: Path) -> None:
    with track.track_live(configure("tensorboard"), RUN, DATA, tmp_path) as [live]:
        live.report_metrics({"loss": 2.0}, step=1)
    [event] = EventAccumulator(str(tmp_path / "logs")).Reload().Scalars("train/loss")
    assert (event.step, event.value) == (1, 2.0)


def test_wandb_without_a_key_is_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise RequestError("no key")

    monkeypatch.setattr(track, "check_login", refuse)
    track.check_trackers(configure("none"))
    with (
        pytest.raises(RequestError, match="no key"),
        track.track_live(configure("wandb"), RUN, DATA, tmp_path),
    ):
        raise AssertionError("the training began")


def test_what_was_left_is_sent_after_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: TensorBoardSink, points: list[MetricPoint]) -> None:
        raise OSError("no space left on the disk")

    with monkeypatch.context() as patch:
        patch.setattr(TensorBoardSink, "send_points", refuse)
        with track.track_live(configure("tensorboard"), RUN, DATA, tmp_path) as [live]:
            live.report_metrics({"loss": 2.0}, step=1)
    spool = tmp_path / "logs" / "unsent-tensorboard.jsonl"
    assert spool.is_file()
    tracked: Any = None  # it has nothing left
    track.send_what_is_left(tracked, configure("tensorboard"), RUN, DATA, tmp_path)
    assert not spool.exists()
    assert EventAccumulator(str(tmp_path / "logs")).Reload().Scalars("train/loss")[0].value == 2.0
