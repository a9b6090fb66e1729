"""Survey what lies in HONE_HOME: runs with what they refer to, cached results, stored files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from configs.errors import HoneError
from tasks.publishing import local
from tasks.publishing.version_records import list_runs_of_versions
from tasks.records.disk import measure_bytes, measure_files
from tasks.records.entries import MANIFEST
from tasks.records.home import find_home
from tasks.records.writing import read_json

LOG = logging.getLogger("hone")
RUN_KINDS = {"runs": "run", "comparisons": "comparison", "sweeps": "sweep",
             "reproductions": "reproduction"}  # fmt: skip
NOT_STAGES = {"blobs", "requests", "environments", "wandb"}
ENTRY_DIGITS = 32
MANAGED = ("outputs", "cache", "artifacts", "mlartifacts", "mlflow.db")
WAITING = "approval.json"


@dataclass(frozen=True)
class Item:
    """Something that takes disk space and may be taken away as a whole."""

    path: str
    """Relative to HONE_HOME."""
    kind: str
    num_bytes: int
    last_used: float
    """Seconds since 1970."""
    refers_to: frozenset[str] = frozenset()
    """Cache entries without which it would be incomplete."""
    precious: str = ""
    """Why it always stays; empty where it may go."""


def survey_runs() -> list[Item]:
    """Return the runs, comparisons, sweeps and reproductions, newest first within each kind."""
    published = find_published_runs()
    found = []
    for folder, kind in RUN_KINDS.items():
        root = find_home() / "outputs" / folder
        places = [p for p in root.glob("*") if p.is_dir() and not p.is_symlink()]
        items = [_describe_run(place, kind, published) for place in sorted(places, reverse=True)]
        found += [_keep_newest(item, is_newest=item is items[0]) for item in items]
    return found


def _keep_newest(item: Item, *, is_newest: bool) -> Item:
    is_free = is_newest and not item.precious and item.kind != "reproduction"
    return replace(item, precious=f"the newest {item.kind}") if is_free else item


def find_published_runs() -> frozenset[str] | None:
    """Return the names of the runs that published a version; None where they cannot be known."""
    folders = (p for p in local.find_models_root().glob("*/*") if p.name.isdecimal())
    found = {lineage.run for p in folders if (lineage := local.read_lineage(p))}
    try:
        return frozenset(found | list_runs_of_versions())
    except HoneError as err:
        LOG.warning("prune: the registry does not tell what is published: %s", err)
        return None


def _describe_run(place: Path, kind: str, published: frozenset[str] | None) -> Item:
    handles = read_run_handles(place)
    return Item(
        path=place.relative_to(find_home()).as_posix(),
        kind=kind,
        num_bytes=measure_bytes(place),
        last_used=_find_last_change(place),
        refers_to=frozenset() if kind == "reproduction" else find_references(place),
        precious=explain_precious(place, handles, published),
    )


def explain_precious(place: Path, handles: dict[str, Any], published: frozenset[str] | None) -> str:
    """Return why a run is never removed; empty where it may be."""
    publication, decision = handles.get("publish"), handles.get("decide") or {}
    if published is not None and place.name in published:
        return "it explains a published model"
    if published is None and publication:
        return "it may explain a published model: the registry does not answer"
    if (place / WAITING).is_file() and read_json(place / WAITING).get("state") == "waiting":
        return "it waits for approval"
    if decision.get("verdict") == "better" and not publication:
        return "it is better and not published yet"
    return ""


def read_run_handles(place: Path) -> dict[str, Any]:
    """Return what a run's manifest says that its stages returned; nothing where it has none."""
    try:
        return dict(read_json(place / MANIFEST)["handles"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def find_references(place: Path) -> frozenset[str]:
    """Return the cache entries that a run, or the runs of a family, refer to."""
    home = find_home()
    found = set()
    for manifest in (place / MANIFEST, *place.glob(f"*/{MANIFEST}")):
        if not manifest.resolve().is_relative_to(home / "cache"):
            rows = read_run_handles(manifest.parent).values()
            found |= {str(row.get("path", "")) for row in rows if isinstance(row, dict)}
    for link in (path for path in _list_links(place)):
        target = link.resolve()
        if target.is_relative_to(home / "cache"):
            found.add("/".join(target.relative_to(home).parts[:3]))
    return frozenset(path for path in found if path.startswith("cache/"))


def _list_links(place: Path) -> Iterator[Path]:
    for path in place.iterdir():
        if path.is_symlink():
            yield path
        elif path.is_dir():
            yield from _list_links(path)


def _find_last_change(place: Path) -> float:
    """Return when a run's own files changed last; those of the cache have their own times."""
    times = [place.stat().st_mtime]
    times += [file.stat().st_mtime for file in place.glob("*") if file.is_file()]
    return max(times)


def survey_entries() -> list[Item]:
    """Return the cached results of all stages, finished or not, each once."""
    root = find_home() / "cache"
    stages = [p for p in root.glob("[a-z]*") if p.is_dir() and p.name not in NOT_STAGES]
    places = [p for stage in stages for p in stage.iterdir() if len(p.name) == ENTRY_DIGITS]
    return [_describe_entry(place) for place in sorted(places) if place.is_dir()]


def _describe_entry(place: Path) -> Item:
    used = [place.stat().st_mtime]
    for file in (place / MANIFEST, place.with_suffix(".lock")):
        used += [file.stat().st_mtime] if file.exists() else []
    checkpoints = place / "checkpoints"
    used += [p.stat().st_mtime for p in checkpoints.glob("*")] if checkpoints.is_dir() else []
    return Item(
        path=place.relative_to(find_home()).as_posix(),
        kind="result" if (place / MANIFEST).is_file() else "unfinished result",
        num_bytes=measure_bytes(place) - measure_bytes(checkpoints),
        last_used=max(used),
    )


def survey_checkpoints(entries: list[Item]) -> list[Item]:
    """Return the checkpoints of trainings; the model of one that has ended does not need them."""
    home = find_home()
    needed = "an interrupted training goes on from them"
    return [
        Item(
            path=f"{entry.path}/checkpoints",
            kind="checkpoints",
            num_bytes=measure_bytes(home / entry.path / "checkpoints"),
            last_used=entry.last_used,
            precious=entry.precious or ("" if entry.kind == "result" else needed),
        )
        for entry in entries
        if (home / entry.path / "checkpoints").is_dir()
    ]


def survey_blobs(entries: list[Item]) -> list[Item]:
    """Return the stored raw files that no data version among the entries has."""
    home = find_home()
    held: set[str] = set()
    for entry in entries:
        if entry.path.startswith("cache/version/") and entry.kind == "result":
            held |= set(read_json(home / entry.path / MANIFEST)["files"].values())
    files = [path for path in (home / "cache" / "blobs").glob("*") if path.name not in held]
    return [
        Item(
            path=path.relative_to(home).as_posix(),
            kind="raw file",
            num_bytes=measure_files(path) if path.is_dir() else path.lstat().st_blocks * 512,
            last_used=path.lstat().st_mtime,
        )
        for path in files
    ]


def measure_home() -> int:
    """Return what hone's own files in HONE_HOME take on the disk."""
    home = find_home()
    blobs = measure_files(home / "cache" / "blobs")
    alone = measure_bytes(home / "cache" / "blobs")  # counted below as well
    return blobs - alone + sum(measure_bytes(home / name) for name in MANAGED)
