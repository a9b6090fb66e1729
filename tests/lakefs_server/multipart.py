"""The operations on objects that are sent in parts to signed URLs."""

from __future__ import annotations

import hashlib
import re
import shutil
import uuid
from pathlib import Path

from tests.lakefs_server import operations as ops
from tests.lakefs_server.model import Refusal
from tests.lakefs_server.operations import Answer, Request, State

MIN_PART_BYTES = 5 << 20  # S3's, for all parts but the last


def create_upload(state: State, request: Request) -> Answer:
    _require_offer(state)
    state.find(request.names["repository"]).find_branch(request.names["branch"])
    upload, address = uuid.uuid4().hex, f"local://stand-in/{uuid.uuid4().hex}"
    state.objects.uploads[upload] = address
    numbers = range(1, int(request.query.get("parts") or 0) + 1)
    urls = [_sign(state, address, number) for number in numbers]
    value = {"upload_id": upload, "physical_address": address, "presigned_urls": urls}
    return Answer(201, value)


def sign_part(state: State, request: Request) -> Answer:
    address = _find_upload(state, request)
    return Answer(200, {"presigned_url": _sign(state, address, int(request.names["partNumber"]))})


def complete_upload(state: State, request: Request) -> Answer:
    """Put the parts together under the tag that S3 gives: the MD5 of their MD5s, and how many."""
    address, body = _find_upload(state, request), request.body
    files = [_locate_part(state, address, part["part_number"]) for part in body["parts"]]
    digests = [
        _check_part(file, part["etag"]) for file, part in zip(files, body["parts"], strict=True)
    ]
    if any(file.stat().st_size < MIN_PART_BYTES for file in files[:-1]):
        raise Refusal(400, "EntityTooSmall")
    with state.objects.locate(address).open("wb") as whole:
        for file in files:
            with file.open("rb") as part:
                shutil.copyfileobj(part, whole)
    tag = hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()
    staged = dict(body) | {
        "checksum": f"{tag}-{len(files)}",
        "size_bytes": state.objects.locate(address).stat().st_size,
        "staging": {"physical_address": address},
    }
    _forget(state, request)
    return ops.link_physical_address(state, Request(request.names, request.query, staged, ""))


def abort_upload(state: State, request: Request) -> Answer:
    _find_upload(state, request)
    _forget(state, request)
    return Answer(204)


def _require_offer(state: State) -> None:
    if not state.objects.takes_parts:
        raise Refusal(501, "presigned multipart upload API is not supported")


def _find_upload(state: State, request: Request) -> str:
    _require_offer(state)
    address = state.objects.uploads.get(request.names["uploadId"])
    if address is None or request.body["physical_address"] != address:
        raise Refusal(404, "NoSuchUpload")
    return address


def _locate_part(state: State, address: str, number: int) -> Path:
    return state.objects.locate(f"{address}.{number}")


def _sign(state: State, address: str, number: int) -> str:
    return state.objects.sign(f"{address}.{number}")


def _check_part(file: Path, tag: str) -> bytes:
    """Return the MD5 of a part; refuse the list of parts where its tag is another."""
    if not file.exists():
        raise Refusal(400, "InvalidPart")
    digest = hashlib.md5(file.read_bytes(), usedforsecurity=False)
    if tag.strip('"') != digest.hexdigest():
        raise Refusal(400, "InvalidPart")
    return digest.digest()


def _forget(state: State, request: Request) -> None:
    address = state.objects.uploads.pop(request.names["uploadId"])
    for file in state.objects.folder.glob(f"{state.objects.locate(address).name}.*"):
        if re.fullmatch(r"\d+", file.suffix[1:]):
            file.unlink()
