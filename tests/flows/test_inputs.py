"""What an MLflow run says that it read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.records.handles import DataVersion, FormattedData, PinnedModel, RowCounts, SplitRecord
from tasks.track import log_inputs
from tasks.tracking.runs import open_run

COMMIT = "8f41" * 16


def describe(source: str) -> tuple[DataVersion, FormattedData]:
    base = PinnedModel(name="b", revision="r", location="l")
    data = DataVersion(
        path="v", digest="t" * 64, source=source, commit=COMMIT, num_files=1, num_bytes=1, base=base
    )
    split = SplitRecord(rows=1, groups=1, tokens=1, trained_tokens=1, digest="d" * 64)
    formatted = FormattedData(
        path="f", digest="f" * 64, kind="messages", rows=RowCounts(read=2, kept=2),
        splits={"train": split, "test": split}, template_digest="", primary_metrics=("nll",),
    )  # fmt: skip
    return data, formatted


@pytest.mark.parametrize(
    ("source", "uri", "digest"),
    [
        ("lakefs://hone/main/rows", f"lakefs://hone/{COMMIT}/rows", COMMIT),
        ("data/flowroll", "data/flowroll", "d" * 64),
    ],
)
def test_data_in_lakefs_is_named_by_its_commit(
    home: Path, monkeypatch: pytest.MonkeyPatch, source: str, uri: str, digest: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracked = open_run("inputs", "some-run")
    log_inputs(tracked, *describe(source))
    inputs = tracked.client.get_run(tracked.run_id).inputs.dataset_inputs
    found = {each.dataset.name: each.dataset for each in inputs}
    assert set(found) == {"train", "test"}
    assert json.loads(found["test"].source) == {"uri": uri, "digest": digest}
    assert found["test"].digest == digest[:36]
    contexts = {each.dataset.name: each.tags[0].value for each in inputs}
    assert contexts == {"train": "training", "test": "test"}
