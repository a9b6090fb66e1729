"""Two data versions ready to be compared: files, and what tells whether they are equal."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import ValidationError

from configs.errors import RequestError
from tasks.records.entries import MANIFEST
from tasks.records.handles import DataVersion
from tasks.records.home import find_home
from tasks.records.writing import read_json
from tasks.versioning.sources import Source, open_source

LOG = logging.getLogger("hone")
MIN_COMMIT_DIGITS = 6

IsReadable = Callable[[str], bool]


@dataclass(frozen=True)
class Version:
    """A data version whose files can be compared with those of another."""

    name: str
    source: Source
    digests: Mapping[str, str]
    """The readable files, each with what tells whether two are equal."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Where a file lies in the source, when not under its own name."""


def open_version(name: str, where: str, is_readable: IsReadable) -> Version:
    """Return a data version and its readable files.

    Args:
        name: `lakefs://REPOSITORY/REF/PATH`, a file or folder, or a commit in HONE_HOME's store
            (its first digits are enough).
        where: The argument that names it, for errors.
        is_readable: Whether hone reads files of this name.

    Raises:
        RequestError: There is no such version.
        RunError: The lakeFS server is away.
    """
    if name.startswith("lakefs://"):
        return _open_commit(name, where, is_readable)
    place = Path(name).expanduser().resolve()
    if "://" not in name and not place.exists() and (stored := _find_stored(name, where)):
        return _open_stored(stored)
    source = open_source(name, place, where)
    names = [file.name for file in source.list_files() if is_readable(file.name)]
    if "://" in name:
        return Version(name, source, {n: f"{source.commit}:{n}" for n in names})
    root = place if place.is_dir() else place.parent
    return Version(name, source, {n: _digest_file(root / n) for n in names})


def name_version(source: str, commit: str) -> str:
    """Return the name by which `open_version` finds what a run has read.

    >>> name_version("hf://someone/questions@v1.0/data", "4f2a"), name_version("data", "9be1")
    ('hf://someone/questions@4f2a/data', '9be1')

    Args:
        source: `data.source` as it was asked for.
        commit: The commit that it was pinned to.
    """
    if source.startswith("lakefs://"):
        from tasks.versioning.lakefs_client import pin_uri

        return pin_uri(source, commit)
    return re.sub("@[^/]+", f"@{commit}", source) if "://" in source else commit


def pair_single_files(first: Version, second: Version) -> Version:
    """Return the first version under the second's file name where each of them is one file."""
    is_pair = first.source.is_single_file and second.source.is_single_file
    if not is_pair or len(first.digests) != 1 or len(second.digests) != 1:
        return first
    [(own, digest)], [name] = first.digests.items(), second.digests
    return replace(first, digests={name: digest}, names={name: own})


def _open_commit(uri: str, where: str, is_readable: IsReadable) -> Version:
    """Pin a lakeFS reference; equal objects are known by their checksums, without reading them."""
    from tasks.versioning.lakefs_client import explain_lakefs_errors, open_client, parse_uri
    from tasks.versioning.lakefs_refs import list_objects, pin_ref

    client = open_client()
    pinned = pin_ref(client, parse_uri(uri, where), where)
    source = open_source(pinned.uri, Path(), where)
    with explain_lakefs_errors(f"listing {pinned.uri}", where):
        objects, _ = list_objects(client, pinned)
    known = {found.name: found for found in objects if is_readable(found.name)}
    return Version(
        pinned.uri,
        source,
        {
            file.name: _name_digest(known[file.name].checksum, file.num_bytes)
            for file in source.list_files()
            if file.name in known
        },
    )


def _digest_file(place: Path) -> str:
    """Return what names a file's content as lakeFS does where its store keeps MD5 tags."""
    with place.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return _name_digest(digest.hexdigest(), place.stat().st_size)


def _name_digest(checksum: str, num_bytes: int) -> str:
    return f"{checksum}:{num_bytes}"


def list_stored() -> list[DataVersion]:
    """Return the data versions in HONE_HOME's store; those of another hone are passed over."""
    found = []
    for manifest in sorted(find_home().glob(f"cache/version/*/{MANIFEST}")):
        try:
            found.append(DataVersion.model_validate(read_json(manifest)["handle"]))
        except (ValidationError, ValueError, KeyError) as err:
            LOG.warning("%s is not readable: %s", manifest, err)
    return found


def _find_stored(commit: str, where: str) -> DataVersion | None:
    """Return the data version in the store whose commit begins with `commit`."""
    if len(commit) < MIN_COMMIT_DIGITS:
        return None
    found = {stored.digest: stored for stored in list_stored() if stored.commit.startswith(commit)}
    if len(found) > 1:
        raise RequestError(
            where=where,
            message=f"{commit} begins the commits of {len(found)} data versions in the store",
            allowed="; ".join(sorted(f"{v.commit} of {v.source}" for v in found.values())),
            hint="write more digits, or name the source itself",
        )
    return next(iter(found.values()), None)


def _open_stored(stored: DataVersion) -> Version:
    """Open a version in the store under the names that its files had in the source."""
    source = open_source(stored.path, stored.folder)
    places = [file.name for file in source.list_files() if file.name != MANIFEST]
    names = {_find_source_name(place): place for place in places}
    digests = {n: _digest_file(stored.folder / place) for n, place in names.items()}
    return Version(f"{stored.source}@{stored.commit}", source, digests, names)


def _find_source_name(place: str) -> str:
    """Return the name that a stored file had in its source.

    Sets of `data.eval_sources` may have files of one name; they keep the name of their set.

    >>> _find_source_name("train/more/a.jsonl"), _find_source_name("eval/test/test.jsonl")
    ('more/a.jsonl', 'eval/test.jsonl')
    >>> _find_source_name("eval/test/rows.jsonl")
    'eval/test/rows.jsonl'
    """
    kind, _, rest = place.partition("/")
    if kind == "train":
        return rest
    set_name, _, name = rest.partition("/")
    return f"eval/{name}" if name.split(".")[0] == set_name else place
