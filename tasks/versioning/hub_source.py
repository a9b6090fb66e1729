"""A data set of the Hugging Face Hub, at a pinned commit, as a data source."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from configs.errors import RequestError, RunError
from tasks.records.digests import CHUNK_BYTES, digest_file
from tasks.versioning.sources import HUB_SCHEME, Pins, SourceFile
from tasks.versioning.store import store_file

# Branches that the hub itself makes have slashes in their names; in others they are %2F.
URI = re.compile(
    r"hf://(?:datasets/)?(?P<name>[\w.-]+(?:/[\w.-]+)?)"
    r"(?:@(?P<revision>refs/(?:convert|pr)/[^/@]+|[^/@]+)(?:/(?P<path>.*))?)?"
)
NUM_THREADS = 8


@dataclass(frozen=True)
class HubPlace:
    """What an `hf://` URI names."""

    name: str
    revision: str
    path: str
    """Below the data set's root: a folder, a file, or empty for all of it."""


class HubSource:
    """What one commit of a hub data set holds under a path.

    Args:
        uri: `hf://NAME@REVISION` or `hf://NAME@REVISION/PATH`; the path is a folder or one file.
        where: The config key that names it, for errors.
        pins: The commits of revisions that this run has pinned already; a new one is added.

    Raises:
        RequestError: It is malformed, there is no such place, or the hub does not show it to you.
        RunError: The hub does not answer.
    """

    def __init__(self, uri: str, where: str = "data.source", pins: Pins | None = None) -> None:
        from huggingface_hub import HfApi

        self.uri, self._where = uri, f"{where}={uri}"
        self._place = parse_hub_uri(uri, where)
        # HF_ENDPOINT is read here and now, so that it needs no say before the library's import.
        self._api = HfApi(
            endpoint=os.environ.get("HF_ENDPOINT") or None, token=os.environ.get("HF_TOKEN") or None
        )
        pins = {} if pins is None else pins
        key = (f"{HUB_SCHEME}{self._place.name}", self._place.revision)
        with explain_hub_errors(self._place, self._where):
            if key not in pins:
                info = self._api.dataset_info(self._place.name, revision=self._place.revision)
                pins[key] = str(info.sha)
            self.commit: str | None = pins[key]
            entries = self._list_entries()
        self.is_single_file = list(entries) == [self._place.path]
        self._folder = PurePosixPath(self._place.path)
        if self.is_single_file:
            self._folder = self._folder.parent
        names = ((PurePosixPath(p).relative_to(self._folder), e) for p, e in entries.items())
        self._entries = {
            name.as_posix(): entry
            for name, entry in sorted(names)
            if not any(part.startswith(".") for part in name.parts)
        }
        if not self._entries:
            raise RequestError(
                message=f'commit {self.commit[:12]} holds no file under "{self._place.path}"',
                where=self._where,
                hint=f"see {_name_page(self._place)}/tree/{self.commit}",
            )

    def list_files(self) -> list[SourceFile]:
        """Return all files under the path that are not hidden, sorted by name."""
        return [SourceFile(name, entry.size) for name, entry in self._entries.items()]

    def copy_file(self, name: str, target: Path) -> None:
        """Download one file to `target`, through the hub's own cache.

        Raises:
            RunError: The hub does not answer, or the bytes are not those of the commit.
        """
        entry = self._entries[name]
        with explain_hub_errors(self._place, self._where):
            cached = self._api.hf_hub_download(
                self._place.name, entry.path, repo_type="dataset", revision=self.commit
            )
        shutil.copyfile(cached, target)
        if not _is_intact(target, entry):
            raise RunError(
                message=f"{entry.path} is damaged: its bytes are not those of the commit",
                where=self._where,
                hint=f"remove {cached} and run again",
            )

    def fetch_files(self, names: Sequence[str], blobs: Path) -> dict[str, str]:
        """Bring files into the store, several at a time, and return their SHA-256 by name."""
        with ThreadPoolExecutor(NUM_THREADS, "hub") as pool:
            digests = pool.map(lambda name: store_file(self, name, blobs), names)
            return dict(zip(names, digests, strict=True))

    def _list_entries(self) -> dict[str, Any]:
        """Return the files under the path, by their path in the data set."""
        tree = self._api.list_repo_tree(
            self._place.name, recursive=True, revision=self.commit, repo_type="dataset"
        )
        files = {entry.path: entry for entry in tree if hasattr(entry, "size")}
        inside = f"{self._place.path}/" if self._place.path else ""
        return {p: e for p, e in files.items() if p == self._place.path or p.startswith(inside)}


def _is_intact(file: Path, entry: Any) -> bool:
    """Tell whether a file's bytes are those of the commit: by SHA-256, or by Git where it is small.

    A file that is not kept apart (LFS) is known by the SHA-1 of Git's object.
    """
    num_bytes = file.stat().st_size
    if num_bytes != entry.size:
        return False
    if entry.lfs:
        return bool(digest_file(file) == entry.lfs.sha256)
    digest = hashlib.sha1(b"blob %d\0" % num_bytes, usedforsecurity=False)
    with file.open("rb") as content:
        while piece := content.read(CHUNK_BYTES):
            digest.update(piece)
    return bool(digest.hexdigest() == entry.blob_id)


def parse_hub_uri(uri: str, where: str = "data.source") -> HubPlace:
    """Return what an `hf://` URI names.

    >>> parse_hub_uri("hf://someone/questions@v1.0/data/train.jsonl")
    HubPlace(name='someone/questions', revision='v1.0', path='data/train.jsonl')

    Raises:
        RequestError: It is malformed, or names no revision.
    """
    found = URI.fullmatch(uri)
    if not found:
        raise RequestError(
            message="not a data set on the hub",
            where=f"{where}={uri}",
            allowed="hf://NAME@REVISION or hf://NAME@REVISION/PATH",
        )
    if not found["revision"]:
        raise RequestError(
            message="a data set on the hub changes: the revision is missing",
            where=f"{where}={uri}",
            allowed="hf://NAME@REVISION with a commit, a tag or a branch",
            hint=f"name a commit of https://huggingface.co/datasets/{found['name']}/commits/main",
        )
    path = (found["path"] or "").strip("/")
    return HubPlace(found["name"], unquote(found["revision"]), path)


@contextmanager
def explain_hub_errors(place: HubPlace, where: str) -> Iterator[None]:
    """Turn what the hub's library raises in the block into one clear error.

    Raises:
        RequestError: The hub does not know the data set or revision, or refuses it.
        RunError: The hub does not answer.
    """
    from huggingface_hub.errors import (
        DisabledRepoError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # The error of the HTTP client under the library, which has changed its client before.
    client_error: type[Exception] = HfHubHTTPError.__bases__[0]
    page = _name_page(place)
    try:
        yield
    except GatedRepoError as err:
        raise RequestError(
            message="access to this data set is asked for on its page and not granted to you yet",
            where=where,
            hint=f"ask at {page}, then set HF_TOKEN or run `hf auth login`",
        ) from err
    except RevisionNotFoundError as err:
        raise RequestError(
            message=f"the hub has no revision {place.revision!r} of it",
            where=where,
            hint=f"see {page}/commits/main",
        ) from err
    except (RepositoryNotFoundError, DisabledRepoError, HFValidationError) as err:
        raise RequestError(
            message="not a data set that the hub shows to you",
            where=where,
            allowed="hf://NAME@REVISION, such as hf://databricks/databricks-dolly-15k@main",
            hint="check the spelling; private and gated data sets need HF_TOKEN or `hf auth login`",
        ) from err
    except (client_error, OSError) as err:
        is_remote = isinstance(err, (client_error, ConnectionError, TimeoutError))
        if not is_remote and getattr(err, "errno", None) is not None:
            raise  # of this machine's disk, not of the hub
        status = getattr(getattr(err, "response", None), "status_code", None)
        said = f"fails with status {status}" if status else "does not answer"
        raise RunError(
            message=f"the hub {said} ({type(err).__name__})",
            where=where,
            hint="connect and run again, or download the data set and name its folder",
        ) from None  # its text may hold a signed URL, and Prefect keeps the log of causes


def _name_page(place: HubPlace) -> str:
    return f"https://huggingface.co/datasets/{place.name}"
