from __future__ import annotations

import json
import logging

import pytest

from flows.logs import JsonFormatter, choose_format, hide_secrets
from tasks.records.stage_fields import name_fields
from tests.flows.running import PLACES, THINGS, Outcome

STAGES = ("version", "format", "evaluate baseline", "train", "evaluate finetuned", "decide",
          "report")  # fmt: skip


def test_each_stage_has_one_line_with_figures_and_no_row(published: Outcome) -> None:
    lines = [line.split(" ", 1)[1] for line in published.stderr.splitlines() if " " in line]
    for stage in STAGES:
        found = [line for line in lines if line.startswith(f"{stage}: ")]
        assert len(found) == 1, (stage, found)
        assert any(character.isdigit() for character in found[0])
    for thing in THINGS:
        assert not any(f"{thing} in the {place}" in published.stderr for place in PLACES)


def make_record(message: str, *values: object, **extra: object) -> logging.LogRecord:
    return logging.getLogger("hone").makeRecord(
        "hone", logging.INFO, __file__, 1, message, values, None, extra=dict(extra)
    )


def test_a_line_for_machines_has_the_figures_as_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_LOG_FORMAT", "json")
    record = make_record("format: %d rows", 3, **name_fields("format", read=3, splits={"test": 1}))
    formatter = choose_format()
    assert isinstance(formatter, JsonFormatter)
    line = json.loads(formatter.format(record))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info", "message": "format: 3 rows", "stage": "format", "read": 3,
        "splits": {"test": 1},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("HF_TOKEN", "hf-of-some-other-shape"),
        ("LAKEFS_SECRET_KEY", "wJalrXUtnFEMI"),
        ("PREFECT_API_AUTH_STRING", "admin:pa55word"),
        ("NOTHING", "hf_abcdefghijklmnopqrstuvwxyz"),
        ("NOTHING", "http://me:pa55@x"),
    ],
)
def test_no_line_holds_a_secret(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, secret: str
) -> None:
    monkeypatch.setenv(name, secret)
    hide_secrets()
    with caplog.at_level(logging.INFO, "hone"):
        logging.getLogger("hone").info("reading %s at the host", secret)
    assert secret not in caplog.text
    assert "host" in caplog.text
