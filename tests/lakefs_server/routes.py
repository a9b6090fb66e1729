"""Which operation of the stand-in answers which request."""

from __future__ import annotations

import re
from urllib.parse import unquote

from tests.lakefs_server import history, multipart
from tests.lakefs_server import operations as ops

API = "/api/v1"
PARTS = "/repositories/{repository}/branches/{branch}/staging/pmpu"
ROUTES: dict[tuple[str, str], ops.Operation] = {
    ("GET", "/config"): ops.get_config,
    ("GET", "/repositories"): ops.list_repositories,
    ("POST", "/repositories"): ops.create_repository,
    ("GET", "/repositories/{repository}"): ops.get_repository,
    ("DELETE", "/repositories/{repository}"): ops.delete_repository,
    ("GET", "/repositories/{repository}/branches"): ops.list_branches,
    ("POST", "/repositories/{repository}/branches"): ops.create_branch,
    ("GET", "/repositories/{repository}/branches/{branch}"): ops.get_branch,
    ("DELETE", "/repositories/{repository}/branches/{branch}"): ops.delete_branch,
    ("PUT", "/repositories/{repository}/branches/{branch}"): ops.reset_branch,
    ("GET", "/repositories/{repository}/branches/{branch}/diff"): ops.diff_branch,
    ("POST", "/repositories/{repository}/branches/{branch}/commits"): history.create_commit,
    ("DELETE", "/repositories/{repository}/branches/{branch}/objects"): ops.delete_object,
    ("POST", "/repositories/{repository}/branches/{branch}/objects/delete"): ops.delete_objects,
    ("GET", "/repositories/{repository}/branches/{branch}/staging/backing"): (
        ops.get_physical_address
    ),
    ("PUT", "/repositories/{repository}/branches/{branch}/staging/backing"): (
        ops.link_physical_address
    ),
    ("POST", PARTS): multipart.create_upload,
    ("PUT", f"{PARTS}/{{uploadId}}"): multipart.complete_upload,
    ("DELETE", f"{PARTS}/{{uploadId}}"): multipart.abort_upload,
    ("PUT", f"{PARTS}/{{uploadId}}/parts/{{partNumber}}"): multipart.sign_part,
    ("GET", "/repositories/{repository}/commits/{commitId}"): history.get_commit,
    ("GET", "/repositories/{repository}/refs/{ref}/commits"): history.log_commits,
    ("GET", "/repositories/{repository}/refs/{leftRef}/diff/{rightRef}"): history.diff_refs,
    ("POST", "/repositories/{repository}/refs/{sourceRef}/merge/{destinationBranch}"): (
        history.merge_into_branch
    ),
    ("GET", "/repositories/{repository}/refs/{sourceRef}/merge/{destinationBranch}"): (
        history.find_merge_base
    ),
    ("GET", "/repositories/{repository}/refs/{ref}/objects/ls"): ops.list_objects,
    ("GET", "/repositories/{repository}/refs/{ref}/objects/stat"): ops.stat_object,
    ("GET", "/repositories/{repository}/tags"): history.list_tags,
    ("POST", "/repositories/{repository}/tags"): history.create_tag,
    ("GET", "/repositories/{repository}/tags/{tag}"): history.get_tag,
    ("DELETE", "/repositories/{repository}/tags/{tag}"): history.delete_tag,
}  # fmt: skip
# These carry bytes instead of JSON.
CONTENT = "/repositories/{repository}/refs/{ref}/objects"
UPLOAD = "/repositories/{repository}/branches/{branch}/objects"


def match_route(template: str, path: str) -> dict[str, str] | None:
    """Return the named parts of a path that has the template's form."""
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)
    found = re.fullmatch(pattern, path)
    return {name: unquote(value) for name, value in found.groupdict().items()} if found else None
