"""Which blob of the store holds an object's bytes, so that each object is downloaded once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tasks.records.digests import digest_file, digest_value

MD5, SHA256 = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class RemoteObject:
    """An object of a commit, by what the server knows it by."""

    name: str
    """Its path below the source."""
    path: str
    """Its path in the repository."""
    checksum: str
    num_bytes: int
    address: str
    """Where the bytes lie in the server's store."""
    sha256: str | None = None
    """The SHA-256 that `hone data push` wrote into the object's metadata."""

    @property
    def md5(self) -> str | None:
        """The MD5 of the bytes, or None where the checksum is another kind of tag."""
        return self.checksum if MD5.fullmatch(self.checksum) else None


@dataclass(frozen=True)
class ObjectCache:
    """The objects of one repository whose bytes are in the store, or on their way to it."""

    folder: Path
    """Holds a file for each object: the digest of its blob, or the part that has come so far."""
    blobs: Path
    endpoint: str
    repository: str

    def make_key(self, entry: RemoteObject) -> str:
        """Return the key of an object: equal objects of any commit have equal keys.

        A checksum that is no MD5 may be a mere counter of the store, so that the address in the
        store is part of the key then.
        """
        identity = [self.endpoint, self.repository, entry.checksum, entry.num_bytes]
        return digest_value([*identity, *([] if entry.md5 else [entry.address])])

    def find_blob(self, key: str) -> str | None:
        """Return the SHA-256 of the blob that holds an object, or None if it must be downloaded.

        The blob is read again: a damaged one is not taken.
        """
        place = self.folder / key
        if not place.is_file():
            return None
        digest = place.read_text(encoding="ascii")
        blob = self.blobs / digest
        return digest if blob.is_file() and digest_file(blob) == digest else None

    def find_partial(self, key: str) -> Path:
        """Return where the bytes of an unfinished download lie."""
        return self.folder / f"{key}.part"

    def keep_blob(self, key: str, digest: str) -> None:
        """Move a finished download into the store and remember whose bytes it holds."""
        partial = self.find_partial(key)
        partial.chmod(0o444)
        partial.replace(self.blobs / digest)
        # Not flushed to the disk, which takes longer than the download: what a power cut leaves
        # here is only believed when the blob has that digest.
        draft = self.folder / f"{key}.new"
        draft.write_text(digest, encoding="ascii")
        draft.replace(self.folder / key)
