"""A small server that speaks the hub's protocol of uploads, and fails where a test asks for it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from tests.local_http import serve_http

TOKEN = "hf_a-token-that-nobody-may-see"
LARGE = (".safetensors", "tokenizer.json")
Fault = int | Literal["cut"]


@dataclass
class Repository:
    """One repository: files by commit, and what its names point to."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    main: str = ""
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], message: str) -> str:
        sha = git_hash(repr((self.main, sorted(files), message)).encode())
        self.commits[sha], self.messages[sha], self.main = files, message, sha
        return sha

    def find(self, revision: str) -> str | None:
        sha = self.main if revision == "main" else self.tags.get(revision, revision)
        return sha if sha in self.commits else None


@dataclass
class UploadHub:
    """What the hub holds, and how it behaves."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    """Large files by SHA-256."""
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    """What the next requests of a kind get instead of an answer."""
    damages_objects: bool = False
    requests: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    url: str = ""


@contextmanager
def serve(hub: UploadHub) -> Iterator[UploadHub]:
    """Serve a hub on a free port of this machine."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with serve_http(handler) as hub.url:
        yield hub


def describe_file(path: str, content: bytes) -> dict[str, Any]:
    """Return the hub's record of a file: git's blob id, and the SHA-256 of a large one."""
    if not path.endswith(LARGE):
        return {"type": "file", "path": path, "size": len(content), "oid": git_hash(content)}
    sha = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\n".encode()
    lfs = {"oid": sha, "size": len(content), "pointerSize": len(pointer)}
    return {
        "type": "file", "path": path, "size": len(content), "oid": git_hash(pointer), "lfs": lfs,
    }  # fmt: skip


def git_hash(content: bytes) -> str:
    blob = b"blob %d\0" % len(content) + content
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: UploadHub
    protocol_version = "HTTP/1.1"
    routes = (
        ("whoami", "GET", r"/api/whoami-v2"),
        ("create", "POST", r"/api/repos/create"),
        ("validate", "POST", r"/api/validate-yaml"),
        ("refs", "GET", r"/api/models/(?P<repo>[^/]+/[^/]+)/refs"),
        ("tree", "GET", r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<rev>[^/]+)"),
        ("info", "GET", r"/api/models/(?P<repo>[^/]+/[^/]+)(?:/revision/(?P<rev>[^/]+))?"),
        ("paths", "POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/paths-info/(?P<rev>[^/]+)"),
        ("preupload", "POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/preupload/(?P<rev>[^/]+)"),
        ("commit", "POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/commit/(?P<rev>[^/]+)"),
        ("tag", "POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/tag/(?P<rev>[^/]+)"),
        ("batch", "POST", r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch"),
        ("object", "PUT", r"/objects/(?P<rev>[0-9a-f]{64})"),
        ("verify", "POST", r"/verify"),
    )

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self.read_chunks()
        path = unquote(urlsplit(self.path).path)
        for kind, method, route in self.routes:
            if method == self.command and (found := re.fullmatch(route, path)):
                self.hub.requests.append(kind)
                self.hub.bodies.append(body)
                self.answer(kind, found.groupdict(), body)
                return
        self.send(404, {"error": f"no route {self.command} {path}"})

    do_POST = do_PUT = do_GET  # noqa: N815 - the names that http.server asks for

    def read_chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, kind: str, named: dict[str, str | None], body: bytes) -> None:
        if self.hub.faults.get(kind):
            fault = self.hub.faults[kind].pop(0)
            if fault == "cut":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
            else:
                place = f"{self.hub.url}/lab/tiny-test"  # the hub's 409 names what is there
                self.send(int(fault), {"error": "as the test asked for", "url": place})
            return
        is_signed = kind == "object"  # a signed address of the store: no token is sent there
        if not is_signed and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.send(401, {"error": "Invalid credentials in Authorization header"})
            return
        repository = self.hub.repositories.get(named.get("repo") or "")
        if "repo" in named and repository is None:
            self.send(404, {"error": "Repository not found"}, code="RepoNotFound")
            return
        getattr(self, f"on_{kind}")(repository, named, body)

    def on_whoami(self, *_: Any) -> None:
        self.send(200, {"type": "user", "name": "ada", "auth": {"type": "access_token"}})

    def on_create(self, _repository: None, _named: dict[str, str], body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked['organization'] or 'ada'}/{asked['name']}"
        if name in self.hub.repositories:
            self.send(409, {"error": "You already created this model repo", "url": name})
            return
        new = Repository(private=asked.get("visibility") == "private" or bool(asked.get("private")))
        new.commit({".gitattributes": b"*.safetensors filter=lfs"}, "initial commit")
        self.hub.repositories[name] = new
        self.send(200, {"url": f"{self.hub.url}/{name}", "name": name, "id": name})

    def on_validate(self, _repository: None, _named: dict[str, str], body: bytes) -> None:
        has_header = json.loads(body)["content"].startswith("---\n")
        problems = [] if has_header else [{"message": "no header"}]
        self.send(200 if has_header else 400, {"errors": problems, "warnings": []})

    def on_info(self, repository: Repository, named: dict[str, str], _body: bytes) -> None:
        sha = repository.find(named["rev"] or "main")
        if sha is None:
            self.send(404, {"error": "Revision not found"}, code="RevisionNotFound")
            return
        files = [{"rfilename": name} for name in sorted(repository.commits[sha])]
        facts = {"id": named["repo"], "sha": sha, "private": repository.private, "tags": []}
        self.send(200, {**facts, "siblings": files, "downloads": 0, "likes": 0})

    def on_refs(self, repository: Repository, *_: Any) -> None:
        tags = [
            {"name": name, "ref": f"refs/tags/{name}", "targetCommit": sha}
            for name, sha in repository.tags.items()
        ]
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.main}
        self.send(200, {"branches": [main], "converts": [], "tags": tags})

    def on_tree(self, repository: Repository, named: dict[str, str], _body: bytes) -> None:
        sha = repository.find(named["rev"]) or ""
        self.send(200, [describe_file(*item) for item in sorted(repository.commits[sha].items())])

    def on_paths(self, repository: Repository, named: dict[str, str], body: bytes) -> None:
        files = repository.commits[repository.find(named["rev"]) or ""]
        asked = parse_qs(body.decode())["paths"]
        self.send(200, [describe_file(name, files[name]) for name in asked if name in files])

    def on_preupload(self, repository: Repository, named: dict[str, str], body: bytes) -> None:
        there = repository.commits[repository.find(named["rev"]) or ""]
        answers = []
        for file in json.loads(body)["files"]:
            name = file["path"]
            mode = "lfs" if name.endswith(LARGE) else "regular"
            known = describe_file(name, there[name]) if name in there else {}
            oid = known.get("lfs", known).get("oid")
            answers.append({"path": name, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self.send(200, {"files": answers})

    def on_batch(self, _repository: Repository, _named: dict[str, str], body: bytes) -> None:
        answers = []
        for item in json.loads(body)["objects"]:
            upload = {"href": f"{self.hub.url}/objects/{item['oid']}", "header": {}}
            verify = {"href": f"{self.hub.url}/verify", "header": {}}
            is_new = item["oid"] not in self.hub.objects
            answers.append(
                item | ({"actions": {"upload": upload, "verify": verify}} if is_new else {})
            )
        self.send(200, {"transfer": "basic", "objects": answers})

    def on_object(self, _repository: None, named: dict[str, str], body: bytes) -> None:
        self.hub.objects[named["rev"]] = body
        self.send(200, {})

    def on_verify(self, _repository: None, _named: dict[str, str], body: bytes) -> None:
        asked = json.loads(body)
        content = self.hub.objects[asked["oid"]]
        is_whole = hashlib.sha256(content).hexdigest() == asked["oid"]
        self.send(200 if is_whole else 400, {})
        if self.hub.damages_objects:
            self.hub.objects[asked["oid"]] = content[::-1]

    def on_commit(self, repository: Repository, named: dict[str, str], body: bytes) -> None:
        lines = [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit") not in {None, repository.main}:
            self.send(412, {"error": "A commit has happened since. Please refresh and try again."})
            return
        files = dict(repository.commits[repository.main])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            else:
                del files[value["path"]]
        sha = repository.commit(files, header["summary"])
        self.send(
            200, {"commitUrl": f"{self.hub.url}/{named['repo']}/commit/{sha}", "commitOid": sha}
        )

    def on_tag(self, repository: Repository, named: dict[str, str], body: bytes) -> None:
        tag = json.loads(body)["tag"]
        if tag in repository.tags:
            self.send(409, {"error": "Tag reference exists already"})
            return
        repository.tags[tag] = repository.find(named["rev"]) or ""
        self.send(200, {})

    def send(self, status: int, value: Any, code: str = "") -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the tests read `requests`."""
