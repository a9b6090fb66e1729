from __future__ import annotations

import logging
from pathlib import Path

import pytest

from configs.schema import RunConfig
from tasks.figures import draw_early
from tasks.records.results import StageResults


def test_plots_that_fail_early_stop_nothing(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    (home / "cache").write_text("no folder")
    with caplog.at_level(logging.WARNING, logger="hone"):
        draw_early(RunConfig(), StageResults())
    assert "could not be drawn yet" in caplog.text
