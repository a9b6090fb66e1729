from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import datasets
import pytest

from configs.errors import RunError
from configs.schema import DataConfig, RunConfig
from tasks.format import format_version
from tasks.prepare import is_in_lakefs, keep_prepared
from tasks.push import push_folder
from tasks.records.handles import DataVersion, FormattedData
from tasks.records.observer import SilentObserver
from tasks.version import pin_inputs
from tasks.versioning.commits import list_objects, read_commit
from tasks.versioning.lakefs_client import open_client, parse_uri
from tasks.versioning.prepared import BRANCH
from tests.flows.running import make_row, write_rows

if TYPE_CHECKING:
    from lakefs.repository import Repository


@pytest.fixture
def prepared(
    home: Path, lakefs_repository: Repository, tmp_path: Path
) -> tuple[DataVersion, FormattedData]:
    """Rows that were pushed, pinned and formatted."""
    folder = tmp_path / "data"
    write_rows(folder / "train.jsonl", [make_row(f"Put {n} away.") for n in range(30)])
    write_rows(folder / "eval" / "test.jsonl", [make_row(f"Take {n} out.") for n in range(5)])
    push_folder(folder, repository=lakefs_repository.id, branch="main", path="rows")
    source = f"lakefs://{lakefs_repository.id}/main/rows"
    config = RunConfig(data=DataConfig(source=source))
    data = pin_inputs(config.data, config.model)
    return data, format_version(data, config, SilentObserver())


def test_splits_ledger_and_statistics_are_kept_beside_the_raw_data(
    lakefs_repository: Repository, prepared: tuple[DataVersion, FormattedData], tmp_path: Path
) -> None:
    data, formatted = prepared
    assert is_in_lakefs(data)
    kept = keep_prepared(data, formatted)
    assert not kept.reused
    place = parse_uri(kept.uri)
    assert place.ref == kept.commit
    info = read_commit(open_client(), lakefs_repository.id, BRANCH)
    assert info.metadata["hone.raw_commit"] == data.commit
    assert info.metadata["hone.raw_digest"] == data.digest
    assert info.metadata["hone.template_digest"] == formatted.template_digest
    assert lakefs_repository.branch("main").head.id == data.commit

    reference = lakefs_repository.ref(kept.commit)
    for found in list_objects(open_client(), lakefs_repository.id, kept.commit):
        file = tmp_path / "copy" / found.path.removeprefix(f"{place.path}/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(reference.object(found.path).reader("rb").read())
    copy = tmp_path / "copy"
    assert {"ledger.json", "data_report.md", "statistics.json"} <= {p.name for p in copy.iterdir()}
    assert not (copy / "manifest.json").exists()
    for name, split in formatted.splits.items():
        assert len(datasets.load_from_disk(str(copy / "splits" / name))) == split.rows
    origin = json.loads((copy / "provenance.json").read_text(encoding="utf-8"))
    assert origin["raw_commit"] == data.commit


def test_what_is_kept_is_kept_once(
    lakefs_repository: Repository, prepared: tuple[DataVersion, FormattedData]
) -> None:
    first, again = keep_prepared(*prepared), keep_prepared(*prepared)
    assert (again.reused, again.uri) == (True, first.uri)
    assert len(list(lakefs_repository.branch(BRANCH).log())) == 2


def test_a_repository_that_cannot_be_written_fails_the_run(
    prepared: tuple[DataVersion, FormattedData], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEFS_SECRET_KEY", "wrong")
    with pytest.raises(RunError, match=r"data\.keep_prepared=false"):
        keep_prepared(*prepared)
