"""`hone data diff`: the rows that were added, removed and changed between two versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from configs.load import load_config
from flows.terminal import print_json, print_table, print_text
from tasks.records.runs import check_home

if TYPE_CHECKING:
    from tasks.diff import DataDiff


def diff_data(*, first: str, second: str, overrides: Sequence[str], as_json: bool) -> int:
    """Compare two data versions and print the counts.

    Returns:
        0, whether they differ or not.
    """
    from tasks.diff import compare_versions

    data = load_config(None, overrides).data
    check_home()
    diff = compare_versions(first, second, data)
    if as_json:
        print_json(diff.model_dump(mode="json"))
    else:
        show(diff)
    return 0


def show(diff: DataDiff) -> None:
    """Print a comparison for a person."""
    print_text(f"first    {diff.first}")
    print_text(f"second   {diff.second}")
    if diff.files:
        print_table(
            ["file", "", "added", "removed", "changed", "unchanged"],
            [
                [f.file, f.status, str(f.added), str(f.removed), str(f.changed), str(f.unchanged)]
                for f in diff.files
            ],
        )
    print_text(
        f"rows     {diff.added} added, {diff.removed} removed, {diff.changed} changed; "
        f"{diff.num_equal_files} files are equal"
    )
