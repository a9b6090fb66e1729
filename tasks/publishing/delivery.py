"""Where a version goes besides its folder and the registry: the hub, and a package."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from configs.errors import HoneError
from configs.schema import TargetName
from tasks.publishing import hub
from tasks.publishing.bases import name_base
from tasks.publishing.hub import HubCopy
from tasks.publishing.local import COPIES, read_lineage
from tasks.publishing.package import SUFFIX, write_package
from tasks.publishing.pyfunc_folder import list_requirements
from tasks.records.handles import Record
from tasks.records.home import find_home
from tasks.records.writing import read_json, write_json

LOG = logging.getLogger("hone")


@dataclass(frozen=True)
class Delivery:
    """The targets of a version."""

    targets: tuple[TargetName, ...] = ("local",)
    repo: str | None = None
    """The hub's repository; None: HF_REPO_ID."""
    is_private: bool = True
    """Whether only its owners may see it on the hub."""


class PackageCopy(Record):
    """A version as one file."""

    path: str
    """Relative to HONE_HOME."""
    digest: str


class Copies(Record):
    """Where a version was brought to; `copies.json` in its folder."""

    hub: HubCopy | None = None
    package: PackageCopy | None = None

    @property
    def places(self) -> tuple[str, ...]:
        """Where the copies are, for a person."""
        found = (f"{self.hub.url}@{self.hub.tag}" if self.hub else "",
                 self.package.path if self.package else "")  # fmt: skip
        return tuple(place for place in found if place)


def check_delivery(delivery: Delivery) -> None:
    """Refuse targets that would take nothing, before anything is done.

    Raises:
        RequestError: The hub's repository is not named, or the token is missing or refused.
    """
    if "hub" in delivery.targets:
        hub.check_login(delivery.repo)


def list_missing(folder: Path, delivery: Delivery) -> list[TargetName]:
    """Return the targets that a version is not at yet, as its folder knows them."""
    copies, reached = read_copies(folder), {"local"}
    if copies.package and (find_home() / copies.package.path).is_file():
        reached.add("package")
    if copies.hub and "hub" in delivery.targets and copies.hub.repo == hub.name_repo(delivery.repo):
        reached.add("hub")
    return [target for target in dict.fromkeys(delivery.targets) if target not in reached]


def deliver(folder: Path, delivery: Delivery) -> None:
    """Bring a version to its targets; one that was reached in an earlier attempt is passed over.

    Args:
        folder: The version's folder.
        delivery: The targets.

    Raises:
        RequestError: As `hub.upload_version`.
        RunError: As `hub.upload_version`.
    """
    for target in list_missing(folder, delivery):
        copies = read_copies(folder)
        if target == "package":
            copies = copies.model_copy(update={"package": pack_version(folder)})
        if target == "hub":
            repo = hub.name_repo(delivery.repo)
            copy = hub.upload_version(folder, folder.name, repo, is_private=delivery.is_private)
            copies = copies.model_copy(update={"hub": copy})
        write_json(folder / COPIES, copies.model_dump(mode="json"))


def read_copies(folder: Path) -> Copies:
    """Return where a version was brought to."""
    file = folder / COPIES
    return Copies.model_validate(read_json(file)) if file.is_file() else Copies()


def follow_champion(folder: Path, replaced: Path) -> bool:
    """Let the hub's `main` show the version that is champion again.

    Args:
        folder: Its folder.
        replaced: The folder of the version that was champion until now.

    Returns:
        Whether the hub shows it, or shows neither; what went wrong is logged.
    """
    there = read_copies(replaced).hub
    if there is None:
        return True
    left = read_copies(replaced).model_copy(update={"hub": None})
    write_json(replaced / COPIES, left.model_dump(mode="json"))
    try:
        copy = hub.upload_version(folder, folder.name, there.repo, is_private=None)
    except HoneError as err:
        LOG.warning("rollback: %s", err)
        return False
    copies = read_copies(folder).model_copy(update={"hub": copy})
    write_json(folder / COPIES, copies.model_dump(mode="json"))
    return True


def pack_version(folder: Path) -> PackageCopy:
    """Write a version as one file into `artifacts/packages/`."""
    out = find_home() / "artifacts" / "packages" / f"{name_package(folder)}{SUFFIX}"
    digest = write_version(folder, out)
    LOG.info("publish: %s, %.1f MB, SHA-256 %s", out, out.stat().st_size / 1e6, digest[:12])
    return PackageCopy(path=out.relative_to(find_home()).as_posix(), digest=digest)


def name_package(folder: Path) -> str:
    """Return what the package of a version is called, such as `my-model-3`."""
    lineage = read_lineage(folder)
    assert lineage is not None, folder
    return f"{lineage.name}-{folder.name}"


def write_version(folder: Path, out: Path) -> str:
    """Write a version as one file; return its SHA-256."""
    lineage = read_lineage(folder)
    assert lineage is not None, folder
    metadata = {
        "name": lineage.name,
        "version": folder.name,
        "base_model": name_base(lineage.base),
        "base_revision": lineage.base.revision,
        "method": lineage.method,
        "dtype": lineage.dtype,
        "kind": lineage.kind,
        "data_source": lineage.data_source,
        "data_commit": lineage.data_commit,
        "code_revision": lineage.code_revision,
        "decision_digest": lineage.decision_digest,
        "model_digest": lineage.candidate_digest,
        "metrics": read_json(folder / "metrics.json"),
    }
    return write_package(
        folder,
        out,
        title=name_package(folder),
        metadata=metadata,
        requirements=list_requirements(lineage.method),
    )
