"""Files of a folder on their way to lakeFS: listed, compared with what is there, sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlencode

from configs.errors import RequestError, RunError
from tasks.records.digests import digest_file
from tasks.versioning.commits import PAGE, ObjectInfo
from tasks.versioning.lakefs_client import (
    call_with_retries,
    explain_lakefs_errors,
    make_timeout,
)  # fmt: skip
from tasks.versioning.multipart import MULTIPART_BYTES, choose_part_bytes, upload_in_parts
from tasks.versioning.object_connections import StorageFacts, read_storage
from tasks.versioning.side_branches import SideBranch

DIGEST_KEY = "hone-sha256"
NUM_THREADS = 8
CHUNK_BYTES = 1 << 20
MAX_SIGNED_BYTES = 5 << 30  # what an object store takes in one request
CONTENT_TYPE = "application/octet-stream"
AUTHENTICATION = ["basic_auth", "cookie_auth", "oidc_auth", "saml_auth", "jwt_token"]
ACTIONS = "_lakefs_actions"  # the repository's hooks: never data


@dataclass(frozen=True)
class LocalFile:
    """A file of the folder that is pushed."""

    place: Path
    path: str
    """Where it goes in the repository."""
    num_bytes: int
    digest: str
    """SHA-256, kept as the object's metadata."""


@dataclass(frozen=True)
class Difference:
    """What has to be done so that the repository holds what the folder holds."""

    added: tuple[LocalFile, ...]
    changed: tuple[LocalFile, ...]
    unchanged: tuple[LocalFile, ...]
    absent: tuple[str, ...]
    """Objects below the prefix that the folder does not have."""

    @property
    def uploads(self) -> tuple[LocalFile, ...]:
        """The files to send, the biggest first, so that none of them is waited for at the end."""
        return tuple(sorted(self.added + self.changed, key=lambda f: (-f.num_bytes, f.path)))


def list_local_files(folder: Path, prefix: str) -> list[LocalFile]:
    """Return the files below a folder that are not hidden, with their digests, sorted by path.

    Raises:
        RequestError: It is no folder, or holds no file.
    """
    if not folder.is_dir():
        raise RequestError(
            where=str(folder), message="no such folder", allowed="a folder of data files"
        )
    places = sorted(p for p in folder.rglob("*") if p.is_file())
    places = [p for p in places if not is_left_alone(p.relative_to(folder).as_posix())]
    if not places:
        raise RequestError(where=str(folder), message="it holds no files", allowed="data files")
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        digests = list(pool.map(digest_file, places))
    return [
        LocalFile(
            place=place,
            path=f"{prefix}{place.relative_to(folder).as_posix()}",
            num_bytes=place.stat().st_size,
            digest=digest,
        )
        for place, digest in zip(places, digests, strict=True)
    ]


def is_left_alone(name: str) -> bool:
    """Tell whether a path is neither pushed nor deleted: hidden, or the repository's hooks.

    >>> is_left_alone(".git/config"), is_left_alone("eval/test.jsonl")
    (True, False)
    """
    parts = PurePosixPath(name).parts
    return parts[0] == ACTIONS or any(part.startswith(".") for part in parts)


def compare_files(
    files: Sequence[LocalFile], objects: Iterable[ObjectInfo], prefix: str
) -> Difference:
    """Tell which files the repository does not have as they are."""
    known = {found.path: found for found in objects}
    added = [f for f in files if f.path not in known]
    present = [f for f in files if f.path in known]
    same = {f.path for f in present if _is_same(f, known[f.path])}
    absent = set(known) - {f.path for f in files}
    return Difference(
        added=tuple(added),
        changed=tuple(f for f in present if f.path not in same),
        unchanged=tuple(f for f in present if f.path in same),
        absent=tuple(sorted(p for p in absent if not is_left_alone(p.removeprefix(prefix)))),
    )


def _is_same(file: LocalFile, found: ObjectInfo) -> bool:
    if file.num_bytes != found.num_bytes:
        return False
    if digest := found.metadata.get(DIGEST_KEY):
        return digest == file.digest
    return _digest_md5(file.place) == found.checksum  # uploaded by another program


def _digest_md5(place: Path) -> str:
    with place.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def upload_files(
    side: SideBranch,
    files: Sequence[LocalFile],
    where: str,
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Send files to a branch: big ones in parts where the store takes them, else as a stream.

    Several files go at a time, of those in parts several parts of one file.

    Args:
        side: The branch.
        files: What to send.
        where: The command, for errors.
        report: Called with the bytes sent so far and their total.

    Raises:
        RunError: A file was changed while it was sent, or the server fails.
    """
    total, done = sum(file.num_bytes for file in files), 0
    with explain_lakefs_errors("asking for the server's settings", where):
        storage = call_with_retries(lambda: read_storage(side.client))
    in_parts = [f for f in files if storage.takes_parts and f.num_bytes >= MULTIPART_BYTES]
    for file in in_parts:
        with explain_lakefs_errors(f"sending {file.path} to {side.repository}", where):
            _send_in_parts(side, file)
        done += file.num_bytes
        report(done, total)
    whole = [file for file in files if file not in in_parts]
    for file in _upload_whole(side, whole, storage, where):
        done += file.num_bytes
        report(done, total)


def _send_in_parts(side: SideBranch, file: LocalFile) -> None:
    part_bytes = choose_part_bytes(file.num_bytes)
    upload_in_parts(
        side,
        file.path,
        _read_pieces(file, part_bytes),
        num_parts=-(-file.num_bytes // part_bytes),
        metadata={DIGEST_KEY: file.digest},
        content_type=CONTENT_TYPE,
    )


def _upload_whole(
    side: SideBranch, files: Sequence[LocalFile], storage: StorageFacts, where: str
) -> Iterator[LocalFile]:
    """Send each file by one request, several at a time, and yield those that arrived."""
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        waiting = [pool.submit(_upload_file, side, f, storage.signs_urls, where) for f in files]
        try:
            for file, sent in zip(files, waiting, strict=True):
                sent.result()
                yield file
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def delete_objects(side: SideBranch, paths: Sequence[str], where: str) -> None:
    """Delete objects on a branch."""
    with explain_lakefs_errors(f"deleting files on {side.name}", where):
        for start in range(0, len(paths), PAGE):
            batch = list(paths[start : start + PAGE])
            call_with_retries(lambda batch=batch: side.branch.delete_objects(batch))  # type: ignore[misc]


def _upload_file(side: SideBranch, file: LocalFile, signs_urls: bool, where: str) -> None:
    send = _put_signed if signs_urls and file.num_bytes <= MAX_SIGNED_BYTES else _post
    with explain_lakefs_errors(f"sending {file.path} to {side.repository}", where):
        call_with_retries(lambda: send(side, file))


def _put_signed(side: SideBranch, file: LocalFile) -> None:
    """Send a file to the store itself, by a signed URL, and link it into the branch."""
    writer = side.branch.object(file.path).writer(
        "wb", pre_sign=True, metadata={DIGEST_KEY: file.digest}, content_type=CONTENT_TYPE
    )
    with writer:
        for piece in _read_pieces(file):
            writer.write(piece)


def _read_pieces(file: LocalFile, piece_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield a file's bytes; what is not what was listed ends the upload with an error."""
    digest = hashlib.sha256()
    num_left = file.num_bytes
    with file.place.open("rb") as content:
        while num_left > 0 and (piece := content.read(min(piece_bytes, num_left))):
            num_left -= len(piece)
            digest.update(piece)
            yield piece
        is_longer = bool(content.read(1))
    if is_longer or digest.hexdigest() != file.digest:
        raise RunError(
            where=str(file.place),
            message="the file was changed while it was sent",
            hint="push again when nobody writes to it",
        )


def _post(side: SideBranch, file: LocalFile) -> None:
    """Stream a file through the server; the client's own writer would copy it to disk first."""
    from lakefs.exceptions import handle_http_error

    api = side.client.sdk_client.objects_api.api_client
    resource = quote(f"/repositories/{side.repository}/branches/{side.name}/objects")
    headers = {
        "Accept": "application/json",
        "Content-Type": CONTENT_TYPE,
        "Content-Length": str(file.num_bytes),
        f"x-lakefs-meta-{DIGEST_KEY}": file.digest,
    }
    api.update_params_for_auth(headers, None, AUTHENTICATION, resource, "POST", None)
    answer = api.rest_client.pool_manager.request(
        "POST",
        f"{side.client.config.host}{resource}?{urlencode({'path': file.path})}",
        headers=headers,
        body=_read_pieces(file),
        timeout=make_timeout(),
    )
    handle_http_error(answer)
