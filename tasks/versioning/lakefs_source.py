"""A path of a lakeFS commit as a data source."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path, PurePosixPath

from configs.errors import RequestError
from tasks.records.digests import digest_value
from tasks.records.locks import hold_lock
from tasks.versioning.downloads import DownloadStoppedError, OpenAt, download_object
from tasks.versioning.lakefs_client import (
    call_with_retries,
    explain_lakefs_errors,
    find_endpoint,
    open_client,
    parse_uri,
)  # fmt: skip
from tasks.versioning.lakefs_refs import list_objects, pin_ref
from tasks.versioning.object_cache import ObjectCache, RemoteObject
from tasks.versioning.object_connections import StorageFacts, make_opener, read_storage
from tasks.versioning.sources import Pins, SourceFile
from tasks.versioning.uploads import ACTIONS

LOG = logging.getLogger("hone")
NUM_THREADS = 16


class LakeFSSource:
    """What one commit holds under a path; the ref was pinned to the commit when it was opened.

    Args:
        uri: `lakefs://REPOSITORY/REF/PATH`; the path is a folder or one object.
        where: The config key that names it, for errors.
        pins: The commits of refs that this run has pinned already; a new one is added.

    Raises:
        RequestError: It is malformed, there is no such place, or the keys give no right to it.
        RunError: The server does not answer.
    """

    def __init__(self, uri: str, where: str = "data.source", pins: Pins | None = None) -> None:
        place = parse_uri(uri, where)
        self.uri, self._where = uri, f"{where}={uri}"
        self._client = open_client()
        pins = {} if pins is None else pins
        pinned = (place.repository, place.ref)
        if pinned not in pins:
            pins[pinned] = pin_ref(self._client, place, where).ref
        self.commit: str | None = pins[pinned]
        self._place = replace(place, ref=pins[pinned])
        with explain_lakefs_errors(f"listing {self._place.uri}", self._where):
            objects, self.is_single_file = list_objects(self._client, self._place)
        self._objects = {o.name: o for o in objects if not _is_hidden(o)}
        self._require_safe_names()

    def list_files(self) -> list[SourceFile]:
        """Return all objects under the path that are not hidden, sorted by name."""
        return [SourceFile(o.name, o.num_bytes) for o in self._objects.values()]

    def copy_file(self, name: str, target: Path) -> None:
        """Download one object to `target`."""
        partial = target.with_name(f"{target.name}.part")
        opener, storage = self._open_store()
        self._download(self._objects[name], partial, opener, storage, threading.Event())
        partial.replace(target)

    def fetch_files(self, names: Sequence[str], blobs: Path) -> dict[str, str]:
        """Download the objects that the store does not have yet, in parallel.

        An interrupted download goes on where it was; of two runs that want the same repository
        the second waits, and then finds the objects there.

        Args:
            names: Which files.
            blobs: The store's folder; what is known of the objects lies beside it.

        Returns:
            The SHA-256 of each file's bytes by name, all of them in the store.
        """
        cache = ObjectCache(
            blobs.parent / "lakefs-objects", blobs, find_endpoint(self._client),
            self._place.repository,
        )  # fmt: skip
        blobs.mkdir(parents=True, exist_ok=True)
        cache.folder.mkdir(parents=True, exist_ok=True)
        lock = cache.folder / f"{digest_value([cache.endpoint, cache.repository])[:16]}.lock"
        with hold_lock(lock, f"the download of lakefs://{cache.repository}"):
            wanted = {cache.make_key(self._objects[name]): self._objects[name] for name in names}
            digests = self._fetch_objects(wanted, cache)
        return {name: digests[cache.make_key(self._objects[name])] for name in names}

    def _fetch_objects(self, wanted: dict[str, RemoteObject], cache: ObjectCache) -> dict[str, str]:
        """Return the blob of each object by its key; download those that are missing."""
        started = time.monotonic()
        with ThreadPoolExecutor(NUM_THREADS, "lakefs") as pool:
            known = dict(zip(wanted, pool.map(cache.find_blob, wanted), strict=True))
        missing = {key: entry for key, entry in wanted.items() if not known[key]}
        found = {key: digest for key, digest in known.items() if digest}
        downloaded = self._download_all(missing, cache) if missing else {}
        LOG.info(
            "lakefs: %s: %d objects; %d were here, %d downloaded (%d bytes) in %.1f s",
            self._place.uri, len(wanted), len(found), len(missing),
            sum(entry.num_bytes for entry in missing.values()), time.monotonic() - started,
        )  # fmt: skip
        return found | downloaded

    def _download_all(self, missing: dict[str, RemoteObject], cache: ObjectCache) -> dict[str, str]:
        """Download objects in parallel; the first failure stops the others."""
        opener, storage = self._open_store()
        stopped = threading.Event()

        def fetch(key: str, entry: RemoteObject) -> str:
            digest = self._download(entry, cache.find_partial(key), opener, storage, stopped)
            cache.keep_blob(key, digest)
            return digest

        with ThreadPoolExecutor(NUM_THREADS, "lakefs") as pool:
            futures = {key: pool.submit(fetch, key, entry) for key, entry in missing.items()}
            try:
                done, _ = wait(futures.values(), return_when=FIRST_EXCEPTION)
                _raise_first_failure(done)
            finally:
                stopped.set()
                pool.shutdown(wait=True, cancel_futures=True)
        return {key: future.result() for key, future in futures.items()}

    def _download(
        self, entry: RemoteObject, partial: Path, opener: OpenAt, storage: StorageFacts,
        stopped: threading.Event,
    ) -> str:  # fmt: skip
        uri = replace(self._place, path=entry.path).uri
        with explain_lakefs_errors(f"reading {uri}", self._where):
            return download_object(
                entry, partial, open_at=opener, stopped=stopped,
                is_md5_certain=storage.has_certain_md5,
            )  # fmt: skip

    def _open_store(self) -> tuple[OpenAt, StorageFacts]:
        with explain_lakefs_errors("asking for the server's settings", self._where):
            storage = call_with_retries(lambda: read_storage(self._client))
        place = self._place
        signed = storage.signs_urls
        return make_opener(self._client, place.repository, place.ref, signed=signed), storage

    def _require_safe_names(self) -> None:
        """Refuse a path with nothing under it, and names that are no path of a folder."""
        if not self._objects:
            raise RequestError(
                message=f"commit {self._place.ref[:12]} holds nothing under {self._place.path!r}",
                where=self._where,
                allowed="the path of an object or of a folder of objects",
                hint="uploads that are not committed are not read: commit them first",
            )
        names = set(self._objects)
        for name in names:
            parents = {p.as_posix() for p in PurePosixPath(name).parents}
            if not _is_safe(name) or parents & names:
                raise RequestError(
                    message=f"the object {name!r} cannot be laid out as a file of a folder",
                    where=self._where,
                    allowed="paths without empty parts, `.` and `..`, and none below another",
                    hint="rename the object, or name a path that does not hold it",
                )


def _is_hidden(entry: RemoteObject) -> bool:
    """Tell whether an object is no data: hidden, or one of the repository's hooks."""
    parts = entry.name.split("/")
    return entry.path.startswith(f"{ACTIONS}/") or any(
        part.startswith(".") and part.strip(".") for part in parts
    )


def _is_safe(name: str) -> bool:
    parts = name.split("/")
    return "\0" not in name and all(part and part not in {".", ".."} for part in parts)


def _raise_first_failure(done: set[Future[str]]) -> None:
    failures = [err for future in done if (err := future.exception())]
    for err in failures:
        if not isinstance(err, DownloadStoppedError):
            raise err
