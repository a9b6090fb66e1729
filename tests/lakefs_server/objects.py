"""The stand-in's object store: bytes in files, with signed addresses where it offers them."""

from __future__ import annotations

import hashlib
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.lakefs_server.model import Entry

CHUNK_BYTES = 1 << 20
SIGNED_SECONDS = 900


@dataclass
class ObjectStore:
    """Objects by a random address; `base_url` is set where they can be read by signed URLs."""

    folder: Path
    base_url: str | None = None
    takes_parts: bool = False
    """Whether big objects can be sent in parts by signed URLs, as object stores offer it."""
    num_signed: int = 0
    uploads: dict[str, str] = field(default_factory=dict)
    """The addresses of objects that are being sent in parts, by the upload."""

    def write(self, stream: IO[bytes], num_bytes: int) -> tuple[str, str]:
        """Store a stream, and return its address and MD5."""
        address, digest = f"local://stand-in/{uuid.uuid4().hex}", hashlib.md5(usedforsecurity=False)
        with self.locate(address).open("wb") as file:
            while num_bytes and (chunk := stream.read(min(num_bytes, CHUNK_BYTES))):
                digest.update(chunk)
                file.write(chunk)
                num_bytes -= len(chunk)
        return address, digest.hexdigest()

    def locate(self, address: str) -> Path:
        """Return the file of an address; it is missing when the object was removed."""
        return self.folder / address.rsplit("/", 1)[-1]

    def describe(self, path: str, entry: Entry, signed: bool) -> dict[str, Any]:
        """Return an object's statistics as the API shows them."""
        stats = {
            "path": path, "path_type": "object", "checksum": entry.checksum,
            "physical_address": entry.physical_address, "size_bytes": entry.size_bytes,
            "mtime": entry.mtime, "content_type": entry.content_type,
            "metadata": dict(entry.metadata),
        }  # fmt: skip
        if signed and self.base_url:
            stats["physical_address"] = self.sign(entry.physical_address)
            stats["physical_address_expiry"] = int(time.time()) + SIGNED_SECONDS
        return stats

    def sign(self, address: str) -> str:
        """Return a URL that reads an address without keys."""
        self.num_signed += 1
        name = self.locate(address).name
        return f"{self.base_url}/store/{name}?signature={self.make_signature(name)}"

    def make_signature(self, name: str) -> str:
        """Return the signature that opens an object of the store."""
        return hashlib.sha256(f"{self.folder}{name}".encode()).hexdigest()

    def reserve(self, signed: bool) -> dict[str, Any]:
        """Return an address to upload to, with a signed URL where that is asked for."""
        address = f"local://stand-in/{uuid.uuid4().hex}"
        return {
            "physical_address": address,
            "presigned_url": self.sign(address) if signed and self.base_url else None,
        }
