from __future__ import annotations

import logging
from pathlib import Path

import pytest

from configs.schema import RunConfig
from tasks.figures import describe_drawing
from tasks.figures_process import start_drawing
from tasks.records.results import StageResults


def test_figures_are_drawn_by_a_process_of_their_own(home: Path) -> None:
    with start_drawing() as drawing:
        assert drawing.is_waiting
        drawing.ask(describe_drawing(RunConfig(), StageResults()).model_dump_json())
        assert not drawing.is_waiting
    assert len(list((home / "cache" / "figures").glob("*/manifest.json"))) == 1


def test_plots_that_fail_early_stop_nothing(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    (home / "cache").write_text("no folder")
    with caplog.at_level(logging.WARNING, logger="hone"), start_drawing() as drawing:
        drawing.ask(describe_drawing(RunConfig(), StageResults()).model_dump_json())
    assert "could not be drawn yet" in caplog.text


def test_a_process_that_nobody_asks_ends_with_the_block(home: Path) -> None:
    with start_drawing() as drawing:
        pass
    assert drawing.process.poll() is not None
    assert not (home / "cache").exists()
