"""Take a data version: copy the selected files of a source into the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.errors import RequestError
from tasks.versioning.selection import Selection, select_files
from tasks.versioning.sources import Pins, Source, SourceFile, open_source
from tasks.versioning.store import digest_tree, store_files


@dataclass(frozen=True)
class Snapshot:
    """The selected files of a source, copied into the store."""

    source: str
    commit: str
    tree: dict[str, str]
    """`train/PATH` and `eval/SET/FILE` to SHA-256."""
    num_bytes: int
    passed_over: tuple[str, ...]


def take_snapshot(
    source: str,
    *,
    locate: Callable[[str], Path],
    pattern: str | None,
    eval_sources: Mapping[str, str],
    is_readable: Callable[[str], bool],
    blobs: Path,
) -> Snapshot:
    """Copy what a run reads into the store, so that later edits of the source change nothing.

    Args:
        source: The source as configured.
        locate: Where a configured path lies on this machine.
        pattern: Which files of a folder are training data.
        eval_sources: More evaluation sets by name, each a file.
        is_readable: Whether hone reads files of this name.
        blobs: The store's folder.

    Raises:
        RequestError: A source is missing or holds nothing to read.
    """
    pins: Pins = {}
    opened = open_source(source, locate(source), pins=pins)
    files = opened.list_files()
    selection = select_files(
        files,
        pattern=pattern,
        is_single_file=opened.is_single_file,
        is_readable=is_readable,
        source=source,
    )
    chosen = (*selection.train, *(n for names in selection.evaluation.values() for n in names))
    _require_content(files, chosen, source)
    extras = {
        set_name: _open_set(set_name, uri, locate(uri), selection, pins)
        for set_name, uri in sorted(eval_sources.items())
    }
    digests = store_files(opened, chosen, blobs)
    tree = {f"train/{name}": digests[name] for name in selection.train}
    for set_name, names in selection.evaluation.items():
        # The parts of a split may have equal names in different folders.
        shorten = (lambda name: name.rsplit("/", 1)[-1]) if len(names) == 1 else str
        tree |= {f"eval/{set_name}/{shorten(name)}": digests[name] for name in names}
    for set_name, extra in extras.items():
        name = extra.list_files()[0].name
        tree |= {f"eval/{set_name}/{name}": store_files(extra, [name], blobs)[name]}
    tree_digest = digest_tree(tree)
    num_bytes = sum((blobs / digest).stat().st_size for digest in tree.values())
    commit = opened.commit or tree_digest[:40]
    return Snapshot(source, commit, tree, num_bytes, selection.passed_over)


def _open_set(set_name: str, uri: str, place: Path, selection: Selection, pins: Pins) -> Source:
    """Open one of `data.eval_sources`: a file with content, under a name that is free."""
    where = f"data.eval_sources.{set_name}"
    extra = open_source(uri, place, where=where, pins=pins)
    if not extra.is_single_file:
        raise RequestError(
            message=f"{uri} is a folder", where=where, allowed="one file for each evaluation set"
        )
    if set_name in selection.evaluation:
        raise RequestError(
            message=f"the source has an evaluation set {set_name} already",
            where=where,
            allowed="a name that eval/ does not bring",
        )
    files = extra.list_files()
    _require_content(files, [files[0].name], uri, where=where)
    return extra


def _require_content(
    files: Sequence[SourceFile], names: Sequence[str], source: str, where: str = "data.source"
) -> None:
    sizes = {file.name: file.num_bytes for file in files}
    for name in names:
        if sizes[name] == 0:
            raise RequestError(
                message=f"{name} is empty",
                where=f"{where}={source}",
                allowed="at least one row",
                hint="remove the file or fill it",
            )
