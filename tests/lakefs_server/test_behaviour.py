"""What lakeFS answers, asserted on whichever server the tests run against."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from typing import Any

import pytest
from lakefs.client import Client
from lakefs.exceptions import (
    BadRequestException,
    ConflictException,
    NotAuthorizedException,
    NotFoundException,
    ObjectNotFoundException,
)  # fmt: skip
from lakefs.repository import Repository

from tests.lakefs_server.fixture import LakeFSServer


def commit_files(repository: Repository, files: dict[str, bytes], branch: str = "main") -> str:
    target = repository.branch(branch)
    for path, content in files.items():
        target.object(path).upload(content)
    return str(target.commit("add", metadata={"by": "test"}).get_commit().id)


def refuse(status: int, words: str, call: Any) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 the kind is asserted below
        call()
    assert getattr(caught.value, "status_code", None) == status
    assert words in str(caught.value)


def test_commits_have_parents_metadata_and_steps_back(lakefs_repository: Repository) -> None:
    main = lakefs_repository.branch("main")
    first = commit_files(lakefs_repository, {"a": b"1"})
    second = commit_files(lakefs_repository, {"a": b"2"})
    commit = main.get_commit()
    assert (commit.id, commit.parents, commit.metadata) == (second, [first], {"by": "test"})
    assert lakefs_repository.ref("main~1").get_commit().id == first
    assert lakefs_repository.ref("main^").get_commit().id == first
    assert lakefs_repository.ref(second[:12]).get_commit().id == second
    assert lakefs_repository.ref(first).object("a").reader().read() == b"1"
    history = [c.id for c in main.log()]
    assert history[:2] == [second, first]
    assert len(history) == 3
    assert [c.id for c in main.log(max_amount=1)] == [second]
    refuse(404, "", lakefs_repository.ref("main~9").get_commit)


def test_a_commit_without_changes_is_a_bad_request(lakefs_repository: Repository) -> None:
    main = lakefs_repository.branch("main")
    commit_files(lakefs_repository, {"a": b"1"})
    with pytest.raises(BadRequestException, match="commit: no changes"):
        main.commit("nothing")


def test_merging_moves_the_branch_and_a_second_time_is_a_bad_request(
    lakefs_repository: Repository,
) -> None:
    base = commit_files(lakefs_repository, {"a": b"1", "b": b"1"})
    side = lakefs_repository.branch("side").create("main")
    side.object("b").delete()
    head = commit_files(lakefs_repository, {"a": b"2", "c": b"3"}, "side")
    main = lakefs_repository.branch("main")
    changes = {(c.path, c.type) for c in main.diff(other_ref=side)}
    assert changes == {("a", "changed"), ("b", "removed"), ("c", "added")}
    merged = side.merge_into(main, message="merge", metadata={"k": "v"})
    commit = lakefs_repository.ref(merged).get_commit()
    assert (commit.id, commit.parents, commit.message) == (merged, [base, head], "merge")
    assert commit.metadata is not None
    assert commit.metadata["k"] == "v"
    assert sorted(o.path for o in main.objects()) == ["a", "c"]
    with pytest.raises(BadRequestException, match="update branch main: no changes"):
        side.merge_into(main)


def test_conflicts_are_refused_unless_a_side_wins(lakefs_repository: Repository) -> None:
    commit_files(lakefs_repository, {"a": b"1"})
    side = lakefs_repository.branch("side").create("main")
    commit_files(lakefs_repository, {"a": b"side"}, "side")
    commit_files(lakefs_repository, {"a": b"main"})
    main = lakefs_repository.branch("main")
    with pytest.raises(ConflictException):
        side.merge_into(main)
    side.merge_into(main, strategy="source-wins")
    assert main.object("a").reader().read() == b"side"


def test_staging_is_seen_on_the_branch_and_not_in_its_commit(
    lakefs_repository: Repository,
) -> None:
    first = commit_files(lakefs_repository, {"a": b"1", "b": b"1"})
    main = lakefs_repository.branch("main")
    main.object("a").upload(b"2")
    main.object("b").delete()
    assert {(c.path, c.type) for c in main.uncommitted()} == {("a", "changed"), ("b", "removed")}
    assert main.object("a").reader().read() == b"2"
    assert lakefs_repository.ref(first).object("a").reader().read() == b"1"
    assert lakefs_repository.ref("main@").object("a").reader().read() == b"1"
    main.reset_changes()
    assert list(main.uncommitted()) == []
    main.object("a").upload(b"1")  # the same bytes again
    refuse(400, "no changes", lambda: main.commit("same"))


def test_objects_have_md5_checksums_metadata_ranges_and_pages(
    lakefs_repository: Repository, lakefs: LakeFSServer
) -> None:
    main = lakefs_repository.branch("main")
    main.object("x/a.txt").upload(
        b"hello", metadata={"kind": "greeting"}, content_type="text/plain"
    )
    names = [f"x/{index:03d}" for index in range(7)]
    commit = commit_files(lakefs_repository, dict.fromkeys(names, b"0"))
    ref = lakefs_repository.ref(commit)
    stat = ref.object("x/a.txt").stat()
    assert stat.checksum == hashlib.md5(b"hello", usedforsecurity=False).hexdigest()
    assert (stat.size_bytes, stat.metadata) == (5, {"kind": "greeting"})
    with ref.object("x/a.txt").reader() as reader:
        reader.seek(2)
        assert reader.read(2) == b"ll"
    api = lakefs.open_client().sdk_client.objects_api
    page = api.list_objects(lakefs_repository.id, commit, prefix="x/", amount=3)
    assert [o.path for o in page.results] == names[:3]
    assert (page.pagination.has_more, page.pagination.next_offset) == (True, names[2])
    assert [o.path for o in ref.objects(prefix="x/0")] == names
    assert [(o.path) for o in ref.objects(delimiter="/")] == ["x/"]
    assert ref.object("x/a.txt").exists()
    assert not ref.object("x/zzz").exists()


def test_tags_stay_and_are_created_once(lakefs_repository: Repository) -> None:
    commit = commit_files(lakefs_repository, {"a": b"1"})
    tag = lakefs_repository.tag("model-v1").create(commit)
    assert tag.get_commit().id == commit
    assert [t.id for t in lakefs_repository.tags()] == ["model-v1"]
    with pytest.raises(ConflictException):
        lakefs_repository.tag("model-v1").create("main~1")
    lakefs_repository.tag("model-v1").create(commit, exist_ok=True)
    refuse(400, "", lambda: lakefs_repository.tag("a/b").create(commit))
    tag.delete()
    assert list(lakefs_repository.tags()) == []


def test_branches_are_listed_created_once_and_deleted(lakefs_repository: Repository) -> None:
    lakefs_repository.branch("side").create("main")
    assert [b.id for b in lakefs_repository.branches()] == ["main", "side"]
    with pytest.raises(ConflictException):
        lakefs_repository.branch("side").create("main")
    lakefs_repository.branch("side").create("main", exist_ok=True)
    lakefs_repository.branch("side").delete()
    refuse(404, "", lakefs_repository.branch("side").get_commit)
    refuse(404, "", lambda: lakefs_repository.branch("new").create("nothing-here"))


def test_a_transaction_commits_and_merges(lakefs_repository: Repository) -> None:
    main = lakefs_repository.branch("main")
    with main.transact(commit_message="all at once") as transaction:
        transaction.object("a").upload(b"1")
        assert not main.object("a").exists()
    assert main.object("a").exists()
    assert main.get_commit().message.startswith("Merge transaction")


def test_what_is_missing_is_a_404(lakefs_repository: Repository, lakefs: LakeFSServer) -> None:
    missing = Repository("hone-not-there", lakefs.open_client())
    with pytest.raises(NotFoundException, match="repository not found"):
        missing.branch("main").get_commit()
    with pytest.raises(NotFoundException):
        lakefs_repository.branch("nope").get_commit()
    with pytest.raises(NotFoundException):
        list(lakefs_repository.ref("nope").objects())
    with pytest.raises(ObjectNotFoundException):
        lakefs_repository.ref("main").object("nope").stat()
    with pytest.raises(ObjectNotFoundException):
        lakefs_repository.ref("main").object("nope").reader().read()


def test_creating_a_repository_twice_is_a_conflict(lakefs_repository: Repository) -> None:
    namespace = lakefs_repository.properties.storage_namespace
    with pytest.raises(ConflictException):
        lakefs_repository.create(namespace + "-again")
    assert lakefs_repository.create(namespace + "-again", exist_ok=True).id == lakefs_repository.id


def test_wrong_keys_are_a_401(lakefs: LakeFSServer) -> None:
    client = Client(host=lakefs.endpoint, username="AKIAJWRONG", password="wrong")
    with pytest.raises(NotAuthorizedException, match="error authenticating request"):
        Repository("any-name", client).branch("main").get_commit()


def test_a_deleted_object_of_the_store_is_gone(
    lakefs_repository: Repository, lakefs: LakeFSServer
) -> None:
    if lakefs.store is None:
        pytest.skip("the server's store is not on this machine")
    content = b"soon to be deleted by retention"
    commit = commit_files(lakefs_repository, {"a": content})
    [blob] = [p for p in lakefs.store.rglob("*") if p.is_file() and p.read_bytes() == content]
    blob.unlink()
    objects = lakefs.open_client().sdk_client.objects_api
    with pytest.raises(Exception, match="410"):
        objects.get_object(lakefs_repository.id, commit, "a")


def test_health_needs_no_keys(lakefs: LakeFSServer) -> None:
    with urllib.request.urlopen(f"{lakefs.endpoint}/_health", timeout=5) as answer:  # noqa: S310
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{lakefs.endpoint}/api/v1/repositories", timeout=5)  # noqa: S310
