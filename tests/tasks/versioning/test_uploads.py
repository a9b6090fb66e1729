from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import RequestError
from tasks.versioning.uploads import is_left_alone, list_local_files


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no files"):
        list_local_files(tmp_path, "")
    with pytest.raises(RequestError, match="no such folder"):
        list_local_files(tmp_path / "nowhere", "")


def test_names_that_are_left_alone() -> None:
    assert is_left_alone("_lakefs_actions/a.yaml")
    assert not is_left_alone("a/_lakefs_actions/a.yaml")
