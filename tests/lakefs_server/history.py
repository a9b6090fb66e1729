"""The operations on commits: commit, log, diff, merge, tags."""

from __future__ import annotations

from tests.lakefs_server.model import (
    REF_NAME,
    Refusal,
    apply_staging,
    diff_trees,
    merge_trees,
)  # fmt: skip
from tests.lakefs_server.operations import (
    Answer,
    Request,
    State,
    list_page,
    read_amount,
    wrap_page,
)  # fmt: skip


def create_commit(state: State, request: Request) -> Answer:
    repository = state.find(request.names["repository"])
    branch = repository.find_branch(request.names["branch"])
    before = repository.commits[branch.commit_id].tree
    tree = apply_staging(before, branch.staging)
    if not diff_trees(before, tree) and not request.body.get("allow_empty"):
        raise Refusal(400, "commit: no changes")
    commit = repository.add_commit(
        tree, (branch.commit_id,), request.user, request.body["message"],
        request.body.get("metadata") or {}, request.body.get("date"),
    )  # fmt: skip
    branch.commit_id, branch.staging = commit.id, {}
    return Answer(201, commit.describe())


def get_commit(state: State, request: Request) -> Answer:
    repository = state.find(request.names["repository"])
    return Answer(200, repository.find_commit(request.names["commitId"]).describe())


def log_commits(state: State, request: Request) -> Answer:
    repository = state.find(request.names["repository"])
    history = list(repository.list_ancestors(repository.find_commit(request.names["ref"])))
    ids = [commit.id for commit in history]
    after = request.query.get("after", "")
    start = ids.index(after) + 1 if after in ids else 0
    amount = read_amount(request.query)
    page = history[start : start + amount]
    return Answer(200, wrap_page([c.describe() for c in page], len(history) > start + amount, "id"))


def diff_refs(state: State, request: Request) -> Answer:
    repository = state.find(request.names["repository"])
    left_ref, right_ref = request.names["leftRef"], request.names["rightRef"]
    left, right = repository.find_tree(left_ref), repository.find_tree(right_ref)
    if request.query.get("type", "three_dot") == "three_dot":
        commits = repository.find_commit(left_ref), repository.find_commit(right_ref)
        left = repository.find_merge_base(*commits).tree
    return list_page(request, {change["path"]: change for change in diff_trees(left, right)})


def merge_into_branch(state: State, request: Request) -> Answer:
    repository, body = state.find(request.names["repository"]), request.body
    name = request.names["destinationBranch"]
    branch = repository.find_branch(name)
    source = repository.find_commit(request.names["sourceRef"])
    destination = repository.commits[branch.commit_id]
    if branch.staging:
        raise Refusal(400, "uncommitted changes (dirty branch)")
    base = repository.find_merge_base(source, destination)
    tree = merge_trees(base.tree, source.tree, destination.tree, body.get("strategy") or "")
    is_empty = not diff_trees(destination.tree, tree)
    if is_empty and not (body.get("allow_empty") or body.get("force")):
        raise Refusal(400, f"update branch {name}: no changes")
    message = body.get("message") or f"Merge '{request.names['sourceRef']}' into '{name}'"
    parents = (destination.id,) if body.get("squash_merge") else (destination.id, source.id)
    commit = repository.add_commit(tree, parents, request.user, message, body.get("metadata") or {})
    branch.commit_id = commit.id
    return Answer(200, {"reference": commit.id})


def find_merge_base(state: State, request: Request) -> Answer:
    repository = state.find(request.names["repository"])
    source = repository.find_commit(request.names["sourceRef"])
    destination = repository.find_commit(request.names["destinationBranch"])
    base = repository.find_merge_base(source, destination)
    return Answer(
        200,
        {
            "source_commit_id": source.id,
            "destination_commit_id": destination.id,
            "base_commit_id": base.id,
        },
    )


def create_tag(state: State, request: Request) -> Answer:
    repository, name = state.find(request.names["repository"]), request.body["id"]
    if not REF_NAME.fullmatch(name):
        raise Refusal(400, f"argument id: {name}: invalid value")
    if name in repository.tags:
        raise Refusal(409, "tag already exists: not unique")
    repository.tags[name] = repository.find_commit(request.body["ref"]).id
    return Answer(201, {"id": name, "commit_id": repository.tags[name]})


def list_tags(state: State, request: Request) -> Answer:
    tags = state.find(request.names["repository"]).tags
    return list_page(request, {n: {"id": n, "commit_id": c} for n, c in tags.items()})


def get_tag(state: State, request: Request) -> Answer:
    repository, name = state.find(request.names["repository"]), request.names["tag"]
    if name not in repository.tags:
        raise Refusal(404, "tag not found")
    return Answer(200, {"id": name, "commit_id": repository.tags[name]})


def delete_tag(state: State, request: Request) -> Answer:
    get_tag(state, request)
    del state.find(request.names["repository"]).tags[request.names["tag"]]
    return Answer(204)
