"""Pin a lakeFS ref to its commit, and list what the commit holds under a path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from configs.errors import RequestError
from tasks.versioning.lakefs_client import (
    LakeFSPath,
    call_with_retries,
    explain_lakefs_errors,
    find_endpoint,
)
from tasks.versioning.lakefs_errors import find_status, list_lakefs_errors
from tasks.versioning.object_cache import SHA256, RemoteObject

if TYPE_CHECKING:
    from lakefs.client import Client

PAGE = 1000  # the most that lakeFS lists at once
DIGEST_KEY = "hone-sha256"  # the metadata of an object that `hone data push` sent
NUM_SHOWN = 10  # names in an error


def pin_ref(client: Client, place: LakeFSPath, where: str) -> LakeFSPath:
    """Return the place at the commit that its branch, tag or expression names now.

    Args:
        client: The server's client.
        place: A place at any ref.
        where: The config key that names it, for errors.

    Raises:
        RequestError: There is no such repository or ref, or no right to read it.
        RunError: The server does not answer.
    """
    commits = client.sdk_client.commits_api
    with explain_lakefs_errors(f"finding the commit of {place.uri}", where):
        try:
            commit = call_with_retries(lambda: commits.get_commit(place.repository, place.ref))
        except list_lakefs_errors() as err:
            if find_status(err) == 404:
                raise _say_what_is_there(client, place, where) from err
            raise
    return replace(place, ref=str(commit.id))


def list_objects(client: Client, place: LakeFSPath) -> tuple[list[RemoteObject], bool]:
    """Return the objects under a path, sorted by name, and whether the path is one object.

    Folder markers (empty objects whose path ends with a slash) are left out.
    """
    if place.path and (single := _stat_object(client, place)):
        return [single], True
    prefix = f"{place.path}/" if place.path else ""
    found = [_read_stats(stats, prefix) for stats in _list_pages(client, place, prefix)]
    return sorted((o for o in found if not o.path.endswith("/")), key=lambda o: o.name), False


def _stat_object(client: Client, place: LakeFSPath) -> RemoteObject | None:
    objects = client.sdk_client.objects_api
    try:
        stats = call_with_retries(
            lambda: objects.stat_object(place.repository, place.ref, place.path)
        )
    except list_lakefs_errors() as err:
        if find_status(err) == 404:
            return None
        raise
    return _read_stats(stats, prefix=place.path[: -len(PurePosixPath(place.path).name)])


def _list_pages(client: Client, place: LakeFSPath, prefix: str) -> Iterator[Any]:
    objects, after, has_more = client.sdk_client.objects_api, "", True
    while has_more:
        start = after

        def list_page(start: str = start) -> Any:
            return objects.list_objects(
                place.repository, place.ref, prefix=prefix, after=start, amount=PAGE)  # fmt: skip

        page = call_with_retries(list_page)
        yield from page.results
        after, has_more = page.pagination.next_offset, page.pagination.has_more


def _read_stats(stats: Any, prefix: str) -> RemoteObject:
    digest = (stats.metadata or {}).get(DIGEST_KEY, "")
    return RemoteObject(
        name=stats.path[len(prefix) :],
        path=stats.path,
        checksum=stats.checksum,
        num_bytes=int(stats.size_bytes or 0),
        address=stats.physical_address,
        sha256=digest if SHA256.fullmatch(digest) else None,
    )


def _say_what_is_there(client: Client, place: LakeFSPath, where: str) -> RequestError:
    """Return the error for a 404, with the names that would have been found."""
    endpoint, api = find_endpoint(client), client.sdk_client
    try:
        api.repositories_api.get_repository(place.repository)
    except list_lakefs_errors() as err:
        if find_status(err) != 404:
            raise
        page = api.repositories_api.list_repositories()
        return RequestError(
            message=f"lakeFS at {endpoint} has no repository {place.repository!r}",
            where=f"{where}={place.uri}",
            allowed=_list_names([r.id for r in page.results]) or "a repository that exists",
            hint="`make lakefs` fills one with the example data; `hone data push` fills your own",
        )
    branches = api.branches_api.list_branches(place.repository)
    tags = api.tags_api.list_tags(place.repository)
    return RequestError(
        message=f"the repository {place.repository} has no branch, tag or commit {place.ref!r}",
        where=f"{where}={place.uri}",
        allowed=_list_names([ref.id for ref in (*branches.results, *tags.results)])
        + ", a commit id, or steps back such as main~2",
    )


def _list_names(names: list[str]) -> str:
    return ", ".join([*names[:NUM_SHOWN], *(["..."] if len(names) > NUM_SHOWN else [])])
