"""The revision of the code behind a run."""

from __future__ import annotations

import functools
import subprocess

from tasks.records.digests import digest_code
from tasks.records.home import find_project

PACKAGES = ("flows", "tasks", "configs")


@functools.cache
def find_code_revision() -> str:
    """Return the commit of this clone, marked when the code is not the committed one.

    Returns:
        `<commit>` of a clean clone; `<commit>-dirty.<digest>` where tracked files were changed
        (the digest is that of the sources); `uncommitted.<digest>` without git or a commit.
    """
    digest = digest_code(*PACKAGES)[:12]
    commit = _ask_git("rev-parse", "--verify", "--quiet", "HEAD")
    if not commit:
        return f"uncommitted.{digest}"
    changes = _ask_git("status", "--porcelain", "--untracked-files=no")
    return commit if changes == "" else f"{commit}-dirty.{digest}"


def _ask_git(*arguments: str) -> str | None:
    """Return what git prints, or None where git is missing or refuses."""
    command = ["git", "-C", str(find_project()), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
