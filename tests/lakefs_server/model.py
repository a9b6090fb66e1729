"""Repositories as lakeFS has them: commits, branches with staging areas, tags, merges, diffs."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

REPOSITORY_NAME = re.compile(r"[a-z0-9][a-z0-9-]{2,62}")
REF_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
REF_EXPRESSION = re.compile(r"(?P<base>[^~^@$]+)(?P<steps>(?:[~^]\d*)*)(?P<committed>[@$]?)")


class Refusal(Exception):  # noqa: N818 an answer, not a failure of the stand-in
    """An answer other than success: its HTTP status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Entry:
    """What a path points to."""

    checksum: str
    size_bytes: int
    physical_address: str
    mtime: int
    content_type: str
    metadata: Mapping[str, str]

    def is_same_content(self, other: Entry | None) -> bool:
        """Tell whether another entry has the same bytes and metadata, wherever they lie."""
        return other is not None and (self.checksum, self.size_bytes, dict(self.metadata)) == (
            other.checksum, other.size_bytes, dict(other.metadata),
        )  # fmt: skip


Tree = dict[str, Entry]


@dataclass(frozen=True)
class Commit:
    """An immutable tree with its history."""

    id: str
    parents: tuple[str, ...]
    committer: str
    message: str
    creation_date: int
    metadata: Mapping[str, str]
    generation: int
    tree: Tree

    def describe(self) -> dict[str, Any]:
        """Return the commit as the API shows it."""
        return {
            "id": self.id, "parents": list(self.parents), "committer": self.committer,
            "message": self.message, "creation_date": self.creation_date,
            "meta_range_id": digest_tree(self.tree) if self.tree else "",
            "metadata": dict(self.metadata), "generation": self.generation, "version": 1,
        }  # fmt: skip


@dataclass
class Branch:
    """A moving head, and what was uploaded or deleted (None) since its last commit."""

    commit_id: str
    staging: dict[str, Entry | None] = field(default_factory=dict)
    hidden: bool = False


@dataclass
class Repository:
    """One repository; the caller holds a lock around each operation."""

    id: str
    storage_namespace: str
    default_branch: str
    creation_date: int = field(default_factory=lambda: int(time.time()))
    branches: dict[str, Branch] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """Return the repository as the API shows it."""
        return {
            "id": self.id, "storage_namespace": self.storage_namespace,
            "default_branch": self.default_branch, "creation_date": self.creation_date,
            "storage_id": "", "read_only": False,
        }  # fmt: skip

    def find_commit(self, expression: str) -> Commit:
        """Return the commit that a ref expression (`main`, `v1~2`, an id or its start) names."""
        parsed = REF_EXPRESSION.fullmatch(expression)
        if not parsed:
            raise Refusal(400, f"{expression}: not a valid reference")
        commit = self.commits[self._find_base(parsed["base"])]
        for kind, number in re.findall(r"([~^])(\d*)", parsed["steps"]):
            commit = self._step_back(commit, kind, int(number or 1))
        return commit

    def find_tree(self, expression: str) -> Tree:
        """Return the objects of a ref; those of a branch include what is not committed yet."""
        tree = self.find_commit(expression).tree
        branch = self.branches.get(expression)
        return apply_staging(tree, branch.staging) if branch else tree

    def find_branch(self, name: str) -> Branch:
        """Return a branch by its exact name."""
        if name not in self.branches:
            raise Refusal(404, "branch not found")
        return self.branches[name]

    def add_commit(
        self, tree: Tree, parents: tuple[str, ...], committer: str, message: str,
        metadata: Mapping[str, str], date: int | None = None,
    ) -> Commit:  # fmt: skip
        """Add a commit to the history; no branch moves."""
        when = date if date is not None else int(time.time())
        generation = 1 + max((self.commits[p].generation for p in parents), default=0)
        content = [digest_tree(tree), parents, committer, message, when, sorted(metadata.items())]
        name = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        commit = Commit(name, parents, committer, message, when, metadata, generation, tree)
        self.commits[commit.id] = commit
        return commit

    def list_ancestors(self, commit: Commit) -> Iterator[Commit]:
        """Yield a commit and its history, the newest generation first."""
        seen, waiting = {commit.id}, [commit]
        while waiting:
            waiting.sort(key=lambda c: (c.generation, c.creation_date))
            newest = waiting.pop()
            yield newest
            for parent in newest.parents:
                if parent not in seen:
                    seen.add(parent)
                    waiting.append(self.commits[parent])

    def find_merge_base(self, left: Commit, right: Commit) -> Commit:
        """Return the newest commit that both histories share."""
        lefts = {commit.id for commit in self.list_ancestors(left)}
        return next(c for c in self.list_ancestors(right) if c.id in lefts)

    def _find_base(self, name: str) -> str:
        if name in self.branches:
            return self.branches[name].commit_id
        if name in self.tags:
            return self.tags[name]
        starts = [i for i in self.commits if i.startswith(name)] if len(name) >= 6 else []
        if len(starts) != 1:
            raise Refusal(404, "not found")
        return starts[0]

    def _step_back(self, commit: Commit, kind: str, number: int) -> Commit:
        parents = [number - 1] if kind == "^" else [0] * number
        for parent in parents:
            if parent >= len(commit.parents):
                raise Refusal(404, "not found")
            commit = self.commits[commit.parents[parent]]
        return commit


def apply_staging(tree: Tree, staging: Mapping[str, Entry | None]) -> Tree:
    """Return a tree with uploads and deletions applied."""
    merged = {**tree, **staging}
    return {path: entry for path, entry in merged.items() if entry is not None}


def digest_tree(tree: Tree) -> str:
    """Return a digest of paths and contents."""
    rows = [
        (p, e.checksum, e.size_bytes, sorted(e.metadata.items())) for p, e in sorted(tree.items())
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def diff_trees(left: Tree, right: Tree) -> list[dict[str, Any]]:
    """Return what `right` has added, removed or changed, by path."""
    changes = []
    for path in sorted({*left, *right}):
        before, after = left.get(path), right.get(path)
        if before and after and before.is_same_content(after):
            continue
        kind = "changed" if before and after else "added" if after else "removed"
        entry = after or before
        assert entry
        changes.append(
            {"type": kind, "path": path, "path_type": "object", "size_bytes": entry.size_bytes}
        )
    return changes


def merge_trees(base: Tree, source: Tree, destination: Tree, strategy: str) -> Tree:
    """Return the three-way merge of two trees.

    Raises:
        Refusal: 409 where both changed the same path in different ways and no strategy is given.
    """
    merged = dict(destination)
    for path in {*base, *source, *destination}:
        old, theirs, ours = base.get(path), source.get(path), destination.get(path)
        if _is_equal(old, theirs) or _is_equal(theirs, ours):
            continue
        if not _is_equal(old, ours) and strategy != "source-wins":
            if strategy == "dest-wins":
                continue
            raise Refusal(409, f"Conflict: {path}")
        if theirs is None:
            merged.pop(path, None)
        else:
            merged[path] = theirs
    return merged


def _is_equal(one: Entry | None, other: Entry | None) -> bool:
    return one is other or (one is not None and one.is_same_content(other))


def take_page(
    keys: list[str], *, after: str, amount: int, prefix: str, delimiter: str
) -> tuple[list[tuple[str, bool]], bool]:
    """Return one page of sorted keys as (key, is_prefix), and whether more follow."""
    inside = (key for key in sorted(keys) if key.startswith(prefix))
    grouped = ((_group(key, prefix, delimiter)) for key in inside)
    unique = [key for key, _ in itertools.groupby(grouped) if key[0] > after]
    return unique[:amount], len(unique) > amount


def _group(key: str, prefix: str, delimiter: str) -> tuple[str, bool]:
    if delimiter and delimiter in key[len(prefix) :]:
        end = key.index(delimiter, len(prefix)) + len(delimiter)
        return key[:end], True
    return key, False
