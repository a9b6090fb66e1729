"""Rows in lakeFS, and snapshots of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lakefs.repository import Repository

from tasks.formatting.files.readers import is_readable
from tasks.versioning.snapshot import Snapshot, take_snapshot

ROWS = {
    "rows/train.jsonl": b'{"text": "a"}\n',
    "rows/more/b.jsonl": b'{"text": "b"}\n',
    "rows/eval/test.jsonl": b'{"text": "t"}\n',
    "rows/README.md": b"about",
    "rows/.hidden.jsonl": b"{}",
    "other/train.jsonl": b'{"text": "other"}\n',
}


def commit_files(
    repository: Repository, files: dict[str, bytes | None], branch: str = "main"
) -> str:
    target = repository.branch(branch)
    for path, content in files.items():
        if content is None:
            target.object(path).delete()
        else:
            target.object(path).upload(content)
    return str(target.commit("change").get_commit().id)


def take(uri: str, blobs: Path, **options: Any) -> Snapshot:
    settings: dict[str, Any] = {"pattern": None, "eval_sources": {}} | options
    return take_snapshot(uri, locate=Path, is_readable=is_readable, blobs=blobs, **settings)


def read_tree(snapshot: Snapshot, blobs: Path) -> dict[str, bytes]:
    return {name: (blobs / digest).read_bytes() for name, digest in snapshot.tree.items()}
