"""Raw files of any kind that hone reads, and ChatGPT's exports, as rows of messages, one a line."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from configs.errors import RequestError
from configs.schema import DataConfig
from tasks.formatting.conversion.chatgpt_export import LeftOut
from tasks.formatting.conversion.converted_rows import convert_row, is_converted
from tasks.formatting.files.json_rows import ReadProblem
from tasks.formatting.files.raw_lines import dump_line
from tasks.formatting.files.readers import Row, SourceFile, read_rows
from tasks.formatting.files.streams import strip_compression
from tasks.formatting.rows.columns import check_columns
from tasks.formatting.rows.formats import check_roles
from tasks.records.writing import share_file

# Beside each output; not among the suffixes that are read as rows.
LIST_SUFFIX = ".left_out.log"


@dataclass(frozen=True)
class ConvertedFile:
    """What became of one input."""

    source: str
    output: Path | None
    """The file that holds its rows; None when it was valid already, or gave no row."""
    num_rows: int
    is_valid_already: bool
    left_out: dict[str, int]
    """How much was left out, by reason."""
    first_left_out: tuple[LeftOut, ...]
    listed_in: Path | None = None
    """The file beside the output that lists all that was left out."""


def convert_files(
    files: Sequence[SourceFile],
    output: Path,
    data: DataConfig,
    *,
    all_branches: bool,
    force: bool,
) -> list[ConvertedFile]:
    """Convert files to JSONL; all of the outputs appear at the end, or none.

    Files that are JSONL of valid messages already are passed over. What is left out of a file is
    listed in a file of the output's name with `.left_out.log` behind it.

    Args:
        files: The inputs.
        output: A file whose name ends with `.jsonl`, for the rows of all inputs, or a folder that
            gets a file for each.
        data: How rows are understood: format, columns, roles.
        all_branches: Whether each branch of a ChatGPT conversation becomes a row.
        force: Whether files that are there may be replaced.

    Raises:
        RequestError: An input cannot be read, an output is there already, or no row is left.
    """
    check_columns(data.columns)
    check_roles(data.roles)
    targets = _choose_targets(files, output)
    for target in sorted(set(targets)):
        _check_target(target, files, force=force)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".convert-") as folder:
        drafts = {t: Path(folder) / f"{i}.jsonl" for i, t in enumerate(sorted(set(targets)))}
        converted = [
            _convert_file(file, target, drafts[target], data, all_branches=all_branches)
            for file, target in zip(files, targets, strict=True)
        ]
        if not any(file.output or file.is_valid_already for file in converted):
            raise _refuse_nothing(converted)
        for target, draft in drafts.items():
            _put_files(draft, target)
    return converted


def _choose_targets(files: Sequence[SourceFile], output: Path) -> list[Path]:
    if output.suffix.lower() == ".jsonl" and not output.is_dir():
        return [output] * len(files)
    targets = [output / Path(f.name).with_name(_name_output(f.name)) for f in files]
    for target, count in Counter(targets).items():
        if count > 1:
            same = ", ".join(f.name for f, t in zip(files, targets, strict=True) if t == target)
            raise RequestError(
                where="--output",
                message=f"{same} would all be written to {target}",
                hint="name a file that ends with .jsonl, which takes the rows of all of them",
            )
    return targets


def _name_output(name: str) -> str:
    return f"{Path(name).name[: len(strip_compression(name))].rsplit('.', 1)[0]}.jsonl"


def _check_target(target: Path, files: Sequence[SourceFile], *, force: bool) -> None:
    if any(target.exists() and target.samefile(file.path) for file in files):
        raise RequestError(
            where="--output", message=f"{target} is an input", hint="name another file or folder"
        )
    for path in (target, _name_list(target)):
        if path.exists() and not (force and path.is_file()):
            raise RequestError(
                where="--output",
                message=f"{path} is there already",
                hint="name another place, or replace it with --force",
            )


def _convert_file(
    file: SourceFile, target: Path, draft: Path, data: DataConfig, *, all_branches: bool
) -> ConvertedFile:
    if is_converted(file):
        return ConvertedFile(file.name, None, 0, True, {}, ())
    with (
        draft.open("ab") as rows,
        _name_list(draft).open("a", encoding="utf-8", errors="backslashreplace") as left_out,
    ):
        num_rows, counts, first = _write_rows(
            _convert_rows(file, data, all_branches=all_branches), rows, left_out
        )
    return ConvertedFile(
        file.name,
        target if num_rows else None,
        num_rows,
        is_valid_already=False,
        left_out=dict(sorted(counts.items())),
        first_left_out=first,
        listed_in=_name_list(target) if counts else None,
    )


def _write_rows(
    items: Iterable[Row | LeftOut], rows: IO[bytes], listed: IO[str], num_shown: int = 10
) -> tuple[int, Counter[str], tuple[LeftOut, ...]]:
    num_rows, counts = 0, Counter[str]()
    first: list[LeftOut] = []
    for item in items:
        if isinstance(item, LeftOut):
            counts[item.reason] += 1
            first += [item] if len(first) < num_shown else []
            listed.write(f"{item.where}\t{item.reason}\t{' '.join(item.detail.split())}\n")
        else:
            num_rows += 1
            rows.write(dump_line(item))
    return num_rows, counts, tuple(first)


def _convert_rows(
    file: SourceFile, data: DataConfig, *, all_branches: bool
) -> Iterator[Row | LeftOut]:
    for line, row in read_rows(file):
        where = f"{file.name}:{line}"
        if isinstance(row, ReadProblem):
            yield LeftOut(where, row.reason, row.detail)
        else:
            yield from convert_row(row, where, data, all_branches=all_branches)


def _name_list(path: Path) -> Path:
    return path.with_name(path.name + LIST_SUFFIX)


def _put_files(draft: Path, target: Path) -> None:
    """Move the rows, and the list of what was left out, to their places where there are some."""
    _move_filled(draft, target)
    if _name_list(draft).exists() and not _move_filled(_name_list(draft), _name_list(target)):
        _name_list(target).unlink(missing_ok=True)  # from before


def _move_filled(draft: Path, target: Path) -> bool:
    if not draft.exists() or not draft.stat().st_size:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    share_file(draft)
    draft.replace(target)
    return True


def _refuse_nothing(converted: Sequence[ConvertedFile]) -> RequestError:
    return RequestError(
        where=", ".join(file.source for file in converted[:3]),
        message="nothing in it can be converted",
        problems=tuple(
            f"{item.where}: {item.detail}" for file in converted for item in file.first_left_out
        ),
    )
