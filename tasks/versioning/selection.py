"""Which files of a source are training data, which are evaluation sets, which are passed over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath

from configs.errors import RequestError
from tasks.versioning.layouts import TRAIN, find_hub_splits, find_saved_splits
from tasks.versioning.sources import HUB_SCHEME, SourceFile

EVALUATION_FOLDER = "eval"
EVALUATION_SETS = ("test", "dev", "adversarial", "validation")


@dataclass(frozen=True)
class Selection:
    """The files of a source by what they are for."""

    train: tuple[str, ...]
    evaluation: dict[str, tuple[str, ...]]
    """Evaluation set name to its files: one, or the parts of a saved or hub split."""
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
    splits = _find_splits(names, pattern, is_readable, source)
    evaluation |= _group_splits(splits, evaluation, source)
    outside = [n for n in names if PurePosixPath(n).parts[0] != EVALUATION_FOLDER]
    others = [n for n in outside if splits.get(n, TRAIN) == TRAIN]
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
            allowed=".arrow, .csv, .json, .jsonl, .ndjson, .parquet, .txt, plain, .gz or .zst",
            hint="name the files with data.pattern" if pattern is None else "change data.pattern",
        )
    chosen = {*train, *(name for files in evaluation.values() for name in files)}
    return Selection(tuple(train), evaluation, tuple(n for n in names if n not in chosen))


def _find_evaluation_sets(
    names: Sequence[str], is_readable: Callable[[str], bool], source: str
) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        path = PurePosixPath(name)
        set_name = path.name.split(".")[0]
        if path.parent.as_posix() != EVALUATION_FOLDER or set_name not in EVALUATION_SETS:
            continue
        if not is_readable(name):
            continue
        if set_name in found:
            raise RequestError(
                message=f"two files for the set {set_name}: {found[set_name][0]} and {name}",
                where=f"data.source={source}",
                allowed=f"one file for each of {', '.join(EVALUATION_SETS)}",
                hint="remove one of them",
            )
        found[set_name] = (name,)
    return found


def _find_splits(
    names: Sequence[str], pattern: str | None, is_readable: Callable[[str], bool], source: str
) -> dict[str, str]:
    """Return what the files of known layouts are for; the empty text for what is no row at all."""
    saved = find_saved_splits(names)
    if not source.startswith(HUB_SCHEME):
        return saved
    found = find_hub_splits([name for name in names if is_readable(name) and name not in saved])
    # A pattern chooses for itself among the files that no split claims.
    return {name: split or (TRAIN if pattern else "") for name, split in found.items()} | saved


def _group_splits(
    splits: Mapping[str, str], evaluation: Mapping[str, object], source: str
) -> dict[str, tuple[str, ...]]:
    """Return the files of each split that is an evaluation set."""
    outside = {n: s for n, s in splits.items() if PurePosixPath(n).parts[0] != EVALUATION_FOLDER}
    found = {
        set_name: tuple(sorted(name for name, split in outside.items() if split == set_name))
        for set_name in EVALUATION_SETS
        if set_name in outside.values()
    }
    if twice := sorted(found.keys() & evaluation.keys()):
        raise RequestError(
            message=f"the set {twice[0]} stands in {EVALUATION_FOLDER}/ and is a split of the data",
            where=f"data.source={source}",
            allowed="one of them",
        )
    return found


def _require_readable(
    names: Sequence[str], is_readable: Callable[[str], bool], source: str
) -> None:
    for name in names:
        if not is_readable(name):
            raise RequestError(
                message=f"{name} is not a kind of file that hone reads",
                where=f"data.source={source}",
                allowed=".arrow, .csv, .json, .jsonl, .ndjson, .parquet, .txt, plain, .gz or .zst",
                hint="convert it, or choose other files with data.pattern",
            )
