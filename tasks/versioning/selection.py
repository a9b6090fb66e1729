"""Which files of a source are training data, which are evaluation sets, which are passed over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath

from configs.errors import RequestError
from tasks.versioning.sources import SourceFile

EVALUATION_FOLDER = "eval"
EVALUATION_SETS = ("test", "dev", "adversarial")


@dataclass(frozen=True)
class Selection:
    """The files of a source by what they are for."""

    train: tuple[str, ...]
    evaluation: dict[str, str]
    """Evaluation set name to file."""
    passed_over: tuple[str, ...]


def select_files(
    files: Sequence[SourceFile],
    *,
    pattern: str | None,
    is_single_file: bool,
    is_readable: Callable[[str], bool],
    source: str,
) -> Selection:
    """Choose the training files and the evaluation sets of a source.

    Args:
        files: What the source holds.
        pattern: A glob on the path below the source; None takes every readable file.
        is_single_file: Whether the source is one file, which then is the training data.
        is_readable: Whether hone reads files of this name.
        source: The source as configured, for errors.

    Raises:
        RequestError: No file is left, a chosen one is not readable, or a set has two files.
    """
    names = [file.name for file in files]
    if is_single_file:
        _require_readable(names, is_readable, source)
        return Selection(tuple(names), {}, ())
    evaluation = _find_evaluation_sets(names, is_readable, source)
    others = [n for n in names if PurePosixPath(n).parts[0] != EVALUATION_FOLDER]
    if pattern is None:
        train = [name for name in others if is_readable(name)]
    else:
        train = [name for name in others if fnmatch(name, pattern)]
        _require_readable(train, is_readable, source)
    if not train:
        raise RequestError(
            message=f"no training file among {len(names)} files"
            + (f" for the pattern {pattern!r}" if pattern else ""),
            where=f"data.source={source}",
            allowed=".jsonl, .json, .csv, .txt, .parquet, plain or .gz",
            hint="name the files with data.pattern" if pattern is None else "change data.pattern",
        )
    chosen = {*train, *evaluation.values()}
    return Selection(tuple(train), evaluation, tuple(n for n in names if n not in chosen))


def _find_evaluation_sets(
    names: Sequence[str], is_readable: Callable[[str], bool], source: str
) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        path = PurePosixPath(name)
        set_name = path.name.split(".")[0]
        if path.parent.as_posix() != EVALUATION_FOLDER or set_name not in EVALUATION_SETS:
            continue
        if not is_readable(name):
            continue
        if set_name in found:
            raise RequestError(
                message=f"two files for the set {set_name}: {found[set_name]} and {name}",
                where=f"data.source={source}",
                allowed=f"one file for each of {', '.join(EVALUATION_SETS)}",
                hint="remove one of them",
            )
        found[set_name] = name
    return found


def _require_readable(
    names: Sequence[str], is_readable: Callable[[str], bool], source: str
) -> None:
    for name in names:
        if not is_readable(name):
            raise RequestError(
                message=f"{name} is not a kind of file that hone reads",
                where=f"data.source={source}",
                allowed=".jsonl, .json, .csv, .txt, .parquet, plain or .gz",
                hint="convert it, or choose other files with data.pattern",
            )
