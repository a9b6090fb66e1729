"""A small server that speaks the part of the hub's protocol by which data sets are read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.local_http import serve_http

PAGE_ENTRIES = 2
NAME = "someone/questions"
ROUTE = re.compile(
    r"/(?:api/)?datasets/(?P<name>[^/]+/[^/]+)/(?P<kind>revision|tree|resolve)/"
    r"(?P<revision>[^/]+)/?(?P<path>.*)"
)


@dataclass
class Hub:
    """What the hub holds: commits of one data set, and how it behaves."""

    commits: dict[str, dict[str, bytes]]
    """Files by commit hash."""
    revisions: dict[str, str]
    """Commit hash by branch or tag."""
    is_gated: bool = False
    damaged: set[str] = field(default_factory=set)
    """Files whose bytes are not those of the commit."""
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def find_commit(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.revisions.get(revision)


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve a hub on a free port of this machine."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with serve_http(handler) as hub.url:
        yield hub


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.hub.requests.append(f"{self.command} {unquote(url.path)}")
        found = ROUTE.fullmatch(url.path)
        if not found or found["name"] != NAME:
            self.send_error_code(401, "RepoNotFound")
            return
        commit = self.hub.find_commit(unquote(found["revision"]))
        if commit is None:
            self.send_error_code(404, "RevisionNotFound")
        elif found["kind"] == "revision":
            info = {"id": NAME, "sha": commit, "private": False, "downloads": 0, "likes": 0}
            self.send_bytes(json.dumps({**info, "tags": [], "siblings": []}).encode())
        elif found["kind"] == "tree":
            self.send_tree(commit, parse_qs(url.query))
        elif self.hub.is_gated:
            self.send_error_code(403, "GatedRepo")
        else:
            self.send_file(commit, unquote(found["path"]))

    def do_HEAD(self) -> None:
        self.do_GET()

    def send_tree(self, commit: str, query: dict[str, list[str]]) -> None:
        start = int(query.get("cursor", ["0"])[0])
        files = sorted(self.hub.commits[commit].items())
        page: list[dict[str, Any]] = [
            {"type": "file", "oid": name_blob(content), "size": len(content), "path": path}
            | ({"lfs": describe_lfs(content)} if path.endswith(".parquet") else {})
            for path, content in files[start : start + PAGE_ENTRIES]
        ]
        folders = [{"type": "directory", "oid": "1" * 40, "size": 0, "path": "data"}]
        end = start + PAGE_ENTRIES
        next_page = f"{self.hub.url}/api/datasets/{NAME}/tree/{commit}?recursive=true&cursor={end}"
        link = {"Link": f'<{next_page}>; rel="next"'} if end < len(files) else {}
        self.send_bytes(json.dumps(page + (folders if not start else [])).encode(), **link)

    def send_file(self, commit: str, path: str) -> None:
        content = self.hub.commits[commit].get(path)
        if content is None:
            self.send_error_code(404, "EntryNotFound")
            return
        tag = hashlib.sha256(content).hexdigest()
        if path in self.hub.damaged:
            content = content[::-1]
        self.send_bytes(content, 200, **{"ETag": f'"{tag}"', "X-Repo-Commit": commit})

    def send_error_code(self, status: int, code: str) -> None:
        self.send_bytes(b"", status, **{"X-Error-Code": code, "X-Error-Message": code})

    def send_bytes(self, content: bytes, status: int = 200, /, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the tests read `requests`."""


def name_blob(content: bytes) -> str:
    """Return the name that Git gives to the content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def describe_lfs(content: bytes) -> dict[str, Any]:
    return {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
