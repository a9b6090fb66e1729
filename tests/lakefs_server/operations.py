"""The operations of lakeFS's API that hone uses, on repositories held in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.lakefs_server.model import (
    REF_NAME,
    REPOSITORY_NAME,
    Branch,
    Entry,
    Refusal,
    Repository,
    apply_staging,
    diff_trees,
    take_page,
)  # fmt: skip
from tests.lakefs_server.objects import ObjectStore

VERSION = "stand-in"


@dataclass(frozen=True)
class Request:
    """One call: the parts of its path by name, its query, its JSON body, and who asks."""

    names: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]
    user: str


@dataclass(frozen=True)
class Answer:
    """A status with a JSON value, or with nothing."""

    status: int
    value: Any = None


@dataclass
class State:
    """Everything that the server holds."""

    objects: ObjectStore
    blockstore_type: str = "local"
    repositories: dict[str, Repository] = field(default_factory=dict)

    def find(self, name: str) -> Repository:
        """Return a repository by name."""
        if name not in self.repositories:
            raise Refusal(404, "repository not found")
        return self.repositories[name]


Operation = Callable[[State, Request], Answer]


def get_config(state: State, _: Request) -> Answer:
    storage = {
        "blockstore_type": state.blockstore_type,
        "blockstore_namespace_example": f"{state.blockstore_type}://example-bucket/",
        "blockstore_namespace_ValidityRegex": f"^{state.blockstore_type}://",
        "pre_sign_support": state.objects.base_url is not None,
        "pre_sign_multipart_upload": state.objects.takes_parts,
        "pre_sign_support_ui": False, "import_support": False, "import_validity_regex": "^$",
    }  # fmt: skip
    return Answer(200, {"version_config": {"version": VERSION}, "storage_config": storage})


def create_repository(state: State, request: Request) -> Answer:
    body = request.body
    if not REPOSITORY_NAME.fullmatch(body["name"]):
        raise Refusal(400, f"invalid repository name: {body['name']}")
    if body["name"] in state.repositories:
        raise Refusal(409, "error creating repository: not unique")
    branch = body.get("default_branch") or "main"
    repository = Repository(body["name"], body["storage_namespace"], branch)
    first = repository.add_commit({}, (), "", "Repository created", {})
    repository.branches[branch] = Branch(first.id)
    state.repositories[repository.id] = repository
    return Answer(201, repository.describe())


def list_repositories(state: State, request: Request) -> Answer:
    return list_page(request, {n: r.describe() for n, r in state.repositories.items()})


def get_repository(state: State, request: Request) -> Answer:
    return Answer(200, state.find(request.names["repository"]).describe())


def delete_repository(state: State, request: Request) -> Answer:
    del state.repositories[state.find(request.names["repository"]).id]
    return Answer(204)


def create_branch(state: State, request: Request) -> Answer:
    repository, name = state.find(request.names["repository"]), request.body["name"]
    if not REF_NAME.fullmatch(name):
        raise Refusal(400, f"argument name: {name}: invalid value")
    if name in repository.branches:
        raise Refusal(409, "branch already exists: not unique")
    commit = repository.find_commit(request.body["source"])
    repository.branches[name] = Branch(commit.id, hidden=bool(request.body.get("hidden")))
    return Answer(201, commit.id)


def list_branches(state: State, request: Request) -> Answer:
    branches = state.find(request.names["repository"]).branches
    is_everything = request.query.get("show_hidden", "").lower() == "true"
    shown = {n: b.commit_id for n, b in branches.items() if is_everything or not b.hidden}
    return list_page(request, {n: {"id": n, "commit_id": c} for n, c in shown.items()})


def get_branch(state: State, request: Request) -> Answer:
    name = request.names["branch"]
    branch = state.find(request.names["repository"]).find_branch(name)
    return Answer(200, {"id": name, "commit_id": branch.commit_id})


def delete_branch(state: State, request: Request) -> Answer:
    repository, name = state.find(request.names["repository"]), request.names["branch"]
    repository.find_branch(name)
    if name == repository.default_branch:
        raise Refusal(403, "cannot delete repository default branch")
    del repository.branches[name]
    return Answer(204)


def reset_branch(state: State, request: Request) -> Answer:
    branch = state.find(request.names["repository"]).find_branch(request.names["branch"])
    kind, path = request.body["type"], request.body.get("path", "")
    for staged in list(branch.staging):
        if (
            kind == "reset"
            or staged == path
            or (kind == "common_prefix" and staged.startswith(path))
        ):
            del branch.staging[staged]
    return Answer(204)


def diff_branch(state: State, request: Request) -> Answer:
    repository = state.find(request.names["repository"])
    branch = repository.find_branch(request.names["branch"])
    committed = repository.commits[branch.commit_id].tree
    changes = diff_trees(committed, apply_staging(committed, branch.staging))
    return list_page(request, {change["path"]: change for change in changes})


def list_objects(state: State, request: Request) -> Answer:
    tree = state.find(request.names["repository"]).find_tree(request.names["ref"])
    signed = request.query.get("presign", "").lower() == "true"
    values = {path: state.objects.describe(path, entry, signed) for path, entry in tree.items()}
    return list_page(request, values)


def stat_object(state: State, request: Request) -> Answer:
    signed = request.query.get("presign", "").lower() == "true"
    entry = find_entry(state, request)
    return Answer(200, state.objects.describe(request.query["path"], entry, signed))


def delete_object(state: State, request: Request) -> Answer:
    stage_deletion(state, request, request.query["path"])
    return Answer(204)


def delete_objects(state: State, request: Request) -> Answer:
    for path in request.body["paths"]:
        stage_deletion(state, request, path)
    return Answer(200, {"errors": []})


def get_physical_address(state: State, request: Request) -> Answer:
    state.find(request.names["repository"]).find_branch(request.names["branch"])
    return Answer(200, state.objects.reserve(request.query.get("presign", "").lower() == "true"))


def link_physical_address(state: State, request: Request) -> Answer:
    staged = request.body
    entry = Entry(
        staged["checksum"].strip('"'), staged["size_bytes"], staged["staging"]["physical_address"],
        int(time.time()), staged.get("content_type") or "application/octet-stream",
        staged.get("user_metadata") or {},
    )  # fmt: skip
    return stage_entry(state, request, entry, status=200)


def find_entry(state: State, request: Request) -> Entry:
    """Return what the request's path points to at its ref."""
    tree = state.find(request.names["repository"]).find_tree(request.names["ref"])
    if request.query["path"] not in tree:
        raise Refusal(404, "")
    return tree[request.query["path"]]


def stage_entry(state: State, request: Request, entry: Entry, status: int = 201) -> Answer:
    """Put an uploaded object into the branch's staging area."""
    branch = state.find(request.names["repository"]).find_branch(request.names["branch"])
    branch.staging[request.query["path"]] = entry
    return Answer(status, state.objects.describe(request.query["path"], entry, signed=False))


def stage_deletion(state: State, request: Request, path: str) -> None:
    """Mark a path as deleted in the branch's staging area."""
    repository = state.find(request.names["repository"])
    branch = repository.find_branch(request.names["branch"])
    if path in repository.commits[branch.commit_id].tree:
        branch.staging[path] = None
    else:
        branch.staging.pop(path, None)


def read_amount(query: Mapping[str, str]) -> int:
    """Return the size of the page that a query asks for."""
    amount = int(query.get("amount") or 100)
    return 1000 if amount < 0 else min(amount or 100, 1000)


def list_page(request: Request, values: Mapping[str, dict[str, Any]]) -> Answer:
    """Answer with one page of values by key; keys below a delimiter are grouped."""
    query = request.query
    page, has_more = take_page(
        list(values), after=query.get("after", ""), amount=read_amount(query),
        prefix=query.get("prefix", ""), delimiter=query.get("delimiter", ""),
    )  # fmt: skip
    results = [group_key(key) if is_prefix else values[key] for key, is_prefix in page]
    wrapped = wrap_page(results, has_more, "id")
    wrapped["pagination"]["next_offset"] = page[-1][0] if has_more else ""
    return Answer(200, wrapped)


def group_key(prefix: str) -> dict[str, Any]:
    """Return the row that stands for all keys below a prefix."""
    return {
        "path": prefix, "path_type": "common_prefix", "type": "prefix_changed",
        "checksum": "", "physical_address": "", "mtime": 0,
    }  # fmt: skip


def wrap_page(results: list[dict[str, Any]], has_more: bool, key: str) -> dict[str, Any]:
    """Return results with the pagination that goes with them."""
    offset = results[-1].get(key, "") if results and has_more else ""
    return {
        "pagination": {
            "has_more": has_more, "next_offset": offset,
            "results": len(results), "max_per_page": 1000,
        },
        "results": results,
    }  # fmt: skip
