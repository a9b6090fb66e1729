"""Pin what a run reads: the data's bytes and the base model."""

from __future__ import annotations

import logging
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from configs.schema import DataConfig, ModelConfig
from tasks.formatting.files.readers import is_readable
from tasks.records.entries import reuse_or_build
from tasks.records.handles import DataVersion, PinnedModel
from tasks.records.home import find_home, resolve_in_project
from tasks.records.stage_fields import name_fields
from tasks.versioning.base_models import pin_base
from tasks.versioning.snapshot import Snapshot, take_snapshot
from tasks.versioning.store import digest_tree, link_tree

LOG = logging.getLogger("hone")


@task(name="version", cache_policy=NO_CACHE)
def version(data: DataConfig, model: ModelConfig) -> DataVersion:
    """Copy the data into the content-addressed store and pin the base model."""
    return pin_inputs(data, model)


def pin_inputs(data: DataConfig, model: ModelConfig) -> DataVersion:
    """Do what `version` does, without Prefect."""
    base = pin_base(model.model_name_or_path, model.model_revision)
    blobs = find_home() / "cache" / "blobs"
    snapshot = take_snapshot(
        data.source,
        locate=resolve_in_project,
        pattern=data.pattern,
        eval_sources=data.eval_sources,
        is_readable=is_readable,
        blobs=blobs,
    )
    handle = reuse_or_build(
        "version",
        {
            "tree": snapshot.tree,
            "source": snapshot.source,
            "passed_over": snapshot.passed_over,
            "base": base.model_dump(),
        },
        DataVersion,
        lambda entry: _lay_out(snapshot, blobs, entry, base),
    )
    # The tree decides what is the same data; the commit says where it was read this time.
    handle = handle.model_copy(update={"commit": snapshot.commit})
    LOG.info(
        "version: %s, %d files, %d bytes, commit %s; %d files passed over%s; base %s @ %s",
        handle.source, handle.num_files, handle.num_bytes, handle.commit[:12],
        len(handle.passed_over), _list_first(handle.passed_over), base.name, base.revision[:12],
        extra=name_fields(
            "version", source=handle.source, commit=handle.commit, num_files=handle.num_files,
            num_bytes=handle.num_bytes, base=base.revision, reused=handle.reused,
        ),
    )  # fmt: skip
    return handle


def _lay_out(snapshot: Snapshot, blobs: Path, entry: Path, base: PinnedModel) -> DataVersion:
    link_tree(snapshot.tree, blobs, entry)
    return DataVersion(
        path=entry.relative_to(find_home()).as_posix(),
        digest=digest_tree(snapshot.tree),
        source=snapshot.source,
        commit=snapshot.commit,
        num_files=len(snapshot.tree),
        num_bytes=snapshot.num_bytes,
        base=base,
        passed_over=snapshot.passed_over,
    )


def _list_first(names: tuple[str, ...], num_shown: int = 3) -> str:
    shown = [*names[:num_shown], *(["..."] if len(names) > num_shown else [])]
    return f" ({', '.join(shown)})" if shown else ""
