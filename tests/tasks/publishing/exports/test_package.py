from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import RequestError
from tasks.export import describe_source, export, export_package
from tasks.resolve import resolve_model
from tests.tasks.publishing.conftest import NAME, Workshop

pytestmark = pytest.mark.filterwarnings("ignore:The PEFT config's")


def test_a_package_is_the_version_that_it_was_made_from(
    published_home: Path, tmp_path: Path
) -> None:
    report = export(f"models:/{NAME}@champion", "package", tmp_path)
    assert report.path == str(tmp_path / f"{NAME}-1.tar.gz")
    assert report.max_logit_difference == report.tolerance == 0
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}-1.tar.gz"]
    with pytest.raises(RequestError, match="no published version"):
        export(report.path, "package", tmp_path / "again.tar.gz")


def test_what_was_never_published_is_not_packed(workshop: Workshop, home: Path) -> None:
    model = str(home / "train-1" / "model")
    source = describe_source(model, resolve_model(workshop.base.location))
    with pytest.raises(RequestError, match="hone publish RUN --to package"):
        export_package(source)
