"""`hone data split`: raw rows into train and evaluation files."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from configs.load import load_config
from flows.terminal import print_json, print_table, print_text
from tasks.formatting.conversion.partition import FILES, Partition, build_shares, list_left_out
from tasks.split_files import split_files


def split_data(
    source: Path,
    *,
    output: Path,
    percentages: Mapping[str, float],
    group_by: str | None,
    version: int,
    allow_invalid: bool,
    overrides: Sequence[str],
    as_json: bool,
) -> int:
    """Split a file or folder by the hash of each row's group, and print the counts.

    Raises:
        RequestError: The request or the rows are wrong; nothing is written.
    """
    shares = build_shares(percentages, version)
    data = load_config(None, overrides).data
    if group_by:
        data = data.model_copy(update={"group_by": group_by})
    partition = split_files(source, output, shares=shares, data=data, allow_invalid=allow_invalid)
    if as_json:
        print_json(
            {
                "output": str(output),
                "files": {name: str(output / FILES[name]) for name in partition.rows},
                "rows": {
                    "read": sum(partition.rows.values()) + len(partition.left_out),
                    **partition.rows,
                    "invalid": len(partition.left_out),
                },
                "groups": partition.groups,
                "left_out": [asdict(row) for row in partition.left_out],
                "shared_prompts": partition.num_shared_prompts,
            }
        )
    else:
        _show(partition, output)
    return 0


def _show(partition: Partition, output: Path) -> None:
    total = sum(partition.rows.values())
    print_table(
        ["split", "rows", "share", "groups", "file"],
        [
            [name, f"{rows:,}", f"{rows / total:.1%}", f"{partition.groups[name]:,}", FILES[name]]
            for name, rows in partition.rows.items()
        ],
    )
    if partition.left_out:
        print_text(f"left out {len(partition.left_out):,} invalid rows")
        for line in list_left_out(partition.left_out):
            print_text(f"         {line}")
    if partition.num_shared_prompts:
        print(  # noqa: T201
            f"warning: {partition.num_shared_prompts:,} prompts stand in more than one split, in "
            "different groups; a run would refuse them, or leave them out with data.overlap: "
            "filter",
            file=sys.stderr,
        )
    print_text(f"written  {output}")
    print_text(f"next     hone data inspect {output}")
