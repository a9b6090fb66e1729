"""A version on the Hugging Face Hub: one commit with its files and card, tagged with its number."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import RequestError, RunError
from tasks.publishing.hub_errors import explain_hub
from tasks.publishing.local import read_lineage
from tasks.records.digests import digest_file
from tasks.records.handles import Record

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LOG = logging.getLogger("hone")
MAIN = "main"
# Beside the model's own files; what names paths, prompts or rows of this machine stays here.
SHOWN = ("README.md", "metrics.json", "decision.json")
WEIGHTS = (".safetensors", ".safetensors.index.json")


class HubCopy(Record):
    """Where a version lies on the hub."""

    repo: str
    commit: str
    tag: str
    url: str


def check_login(repo: str | None) -> None:
    """Refuse a repository that is not named and a token that the hub does not take.

    A hub that does not answer now may do so when there is something to upload.

    Raises:
        RequestError: No repository, no token, or one that is not accepted.
    """
    name_repo(repo)
    api = open_hub()
    try:
        with explain_hub("the hub"):
            api.whoami()
    except RunError as err:
        LOG.warning("publish: %s", err.message)


def name_repo(repo: str | None) -> str:
    """Return the repository to upload to: the one that is named, or HF_REPO_ID.

    Raises:
        RequestError: There is neither.
    """
    named = repo or os.environ.get("HF_REPO_ID")
    if not named:
        raise RequestError(
            where="publish.hub_repo",
            message="no repository on the hub is named",
            allowed="OWNER/NAME",
            hint="set publish.hub_repo, HF_REPO_ID, or --repo",
        )
    return named


def open_hub() -> HfApi:
    """Return the hub's client, with the token of HF_TOKEN or of `hf auth login`.

    Raises:
        RequestError: There is no token.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.utils.logging import set_verbosity_error
    from huggingface_hub.utils.tqdm import disable_progress_bars

    set_verbosity_error()  # type: ignore[no-untyped-call] # its warnings name the signed addresses that files are sent to
    if not sys.stderr.isatty():
        disable_progress_bars()
    token = os.environ.get("HF_TOKEN") or get_token()
    if not token:
        raise RequestError(
            where="HF_TOKEN",
            message="uploading to the hub needs a token with write access",
            hint="set HF_TOKEN, or run `hf auth login`",
        )
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token)


def upload_version(folder: Path, version: str, repo: str, *, is_private: bool | None) -> HubCopy:
    """Make the hub's `main` hold a version, in one commit, and tag it `vVERSION`.

    What is there already is not uploaded again, so an attempt that was cut off is simply repeated.

    Args:
        folder: The version's folder.
        version: Its number in the registry.
        repo: `OWNER/NAME`; made when it is missing.
        is_private: Whether only its owners may see it; None: it is there, and stays as it is.

    Raises:
        RequestError: The token or the name is refused, the repository is visible to others than
            asked for, or the tag names another model.
        RunError: The hub does not answer, fails, or holds other bytes than were sent.
    """
    api, tag = open_hub(), f"v{version}"
    files = list_shown(folder)
    with explain_hub(repo):
        if is_private is not None:
            api.create_repo(repo, private=is_private, exist_ok=True)
        head = _check_visibility(api, repo, is_private=is_private)
        tagged = _find_tag(api, repo, tag)
        if tagged and (wrong := find_differences(api, repo, tagged, files)):
            raise RequestError(
                where=f"{repo}@{tag}",
                message=f"the tag names another model: {wrong[0]} differs",
                hint="name another repository: versions of one name belong into one",
            )
        commit = _commit_files(api, repo, files, head, version)
        if wrong := find_differences(api, repo, commit, files):
            raise RunError(where=repo, message=f"the hub holds another {wrong[0]} than was sent")
        if tagged is None:
            api.create_tag(repo, tag=tag, revision=commit, tag_message=f"Version {version}")
    url = f"{api.endpoint}/{repo}"
    LOG.info("publish: version %s is %s at %s, tagged %s", version, url, commit[:12], tag)
    return HubCopy(repo=repo, commit=commit, tag=tag, url=url)


def list_shown(folder: Path) -> dict[str, Path]:
    """Return a version's files that go to the hub, by their name there."""
    lineage = read_lineage(folder)
    assert lineage is not None, folder
    names = sorted({*lineage.model_files, *SHOWN})
    return {name: folder / name for name in names if (folder / name).is_file()}


def _check_visibility(api: HfApi, repo: str, *, is_private: bool | None) -> str | None:
    """Return the head of a repository that is as visible as asked for."""
    info: Any = api.repo_info(repo)
    if is_private is not None and bool(info.private) != is_private:
        found, asked = ("private", "public") if info.private else ("public", "private")
        raise RequestError(
            where=repo,
            message=f"the repository is {found}, and the version is to be {asked}",
            allowed=asked,
            hint="change it on the hub, or set publish.hub_private (--public) to fit",
        )
    return str(info.sha) if info.sha else None


def _find_tag(api: HfApi, repo: str, tag: str) -> str | None:
    tags = {ref.name: ref.target_commit for ref in api.list_repo_refs(repo).tags}
    return tags.get(tag)


def _commit_files(
    api: HfApi, repo: str, files: Mapping[str, Path], head: str | None, version: str
) -> str:
    """Return the commit in which `main` holds exactly these weights; a new one where needed."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    there = api.list_repo_files(repo, revision=MAIN)
    stale = [name for name in there if name.endswith(WEIGHTS) and name not in files]
    if head and not stale and not find_differences(api, repo, head, files):
        return head
    operations: list[Any] = [CommitOperationDelete(path_in_repo=name) for name in stale]
    operations += [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(path))
        for name, path in files.items()
    ]
    commit: Any = api.create_commit(
        repo, operations, commit_message=f"Version {version}", parent_commit=head
    )
    return str(commit.oid)


def find_differences(api: HfApi, repo: str, commit: str, files: Mapping[str, Path]) -> list[str]:
    """Return the files whose bytes a commit does not hold."""
    found: Any = {
        info.path: info for info in api.get_paths_info(repo, list(files), revision=commit)
    }
    return [
        name for name, path in files.items() if name not in found or not is_same(found[name], path)
    ]


def is_same(info: Any, path: Path) -> bool:
    """Return whether the hub's record of a file is about these bytes.

    Args:
        info: The hub's record: the SHA-256 of a large file, git's SHA-1 of a small one.
        path: The file here.
    """
    if info.lfs:
        return bool(info.lfs.sha256 == digest_file(path))
    content = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return bool(info.blob_id == blob.hexdigest())
