"""`hone data convert`: exports and multi-line JSON as rows that hone reads, one a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from configs.errors import RequestError
from configs.load import load_config
from flows.terminal import print_json, print_text
from tasks.formatting.conversion.convert import ConvertedFile, convert_files
from tasks.formatting.files.readers import READABLE, SourceFile, is_readable, list_source_files


def convert_data(
    *,
    inputs: Sequence[Path],
    output: Path,
    all_branches: bool,
    force: bool,
    overrides: Sequence[str],
    as_json: bool,
) -> int:
    """Convert files and folders to JSONL, and print what became of each.

    Raises:
        RequestError: An input cannot be read, an output is there already, or no row is left.
    """
    data = load_config(None, overrides).data
    files = [file for path in inputs for file in _list_files(path)]
    converted = convert_files(files, output, data, all_branches=all_branches, force=force)
    if as_json:
        print_json({"output": str(output), "files": [_describe(file) for file in converted]})
    else:
        for file in converted:
            _show(file)
    return 0


def _list_files(path: Path) -> list[SourceFile]:
    if path.is_dir():
        files = list_source_files(path)
        if not files:
            raise RequestError(
                where=str(path), message="the folder holds no readable file", allowed=READABLE
            )
        return files
    if not path.is_file():
        raise RequestError(where=str(path), message="there is no such file or folder")
    if not is_readable(path.name):
        raise RequestError(
            where=str(path), message="not a kind of file that hone reads", allowed=READABLE
        )
    return [SourceFile(path, path.name)]


def _describe(file: ConvertedFile) -> dict[str, object]:
    return {
        "source": file.source,
        "output": str(file.output) if file.output else None,
        "rows": file.num_rows,
        "valid_already": file.is_valid_already,
        "left_out": file.left_out,
        "first_left_out": [asdict(item) for item in file.first_left_out],
        "list": str(file.listed_in) if file.listed_in else None,
    }


def _show(file: ConvertedFile) -> None:
    if file.is_valid_already:
        print_text(f"{file.source}: valid already, left as it is")
        return
    place = f" in {file.output}" if file.output else ": nothing in it can be converted"
    print_text(f"{file.source}: {file.num_rows:,} rows{place}")
    for reason, count in file.left_out.items():
        print_text(f"  left out {count:>6,}  {reason}")
    for item in file.first_left_out:
        print_text(f"    {item.where}: {item.detail}")
    if sum(file.left_out.values()) > len(file.first_left_out):
        print_text(f"    all of them: {file.listed_in}")
