"""Commit the formatted data to its repository, on the branch that no run reads."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from configs.errors import RequestError, RunError
from tasks.records.entries import MANIFEST
from tasks.records.handles import DataVersion, FormattedData, PreparedData
from tasks.records.home import find_home
from tasks.records.stage_fields import name_fields
from tasks.records.writing import write_json
from tasks.versioning.lakefs_client import SCHEME, open_client, parse_uri
from tasks.versioning.prepared import MARKER, PreparedCommit, commit_prepared, find_prepared

LOG = logging.getLogger("hone")
WHERE = "data.keep_prepared"
DIGITS = 32  # of the formatted data's digest, in its path


@task(name="prepare", cache_policy=NO_CACHE)
def prepare(data: DataVersion, formatted: FormattedData) -> PreparedData:
    """Keep the splits, the ledger and the statistics beside the raw data that they come from."""
    return keep_prepared(data, formatted)


def is_in_lakefs(data: DataVersion) -> bool:
    """Return whether the data came from a lakeFS repository."""
    return data.source.startswith(SCHEME)


def keep_prepared(data: DataVersion, formatted: FormattedData) -> PreparedData:
    """Do what `prepare` does, without Prefect.

    Raises:
        RunError: The repository cannot be written, or the server failed.
    """
    try:
        kept = _find_or_commit(data, formatted)
    except RequestError as err:
        raise RunError(
            where=WHERE,
            message=f"the prepared data is not kept: {err.message}",
            hint="give these keys the right to write to the repository, "
            "or set data.keep_prepared=false",
        ) from err
    LOG.info(
        "prepare: %s%s", kept.uri, " (was there)" if kept.was_there else "",
        extra=name_fields("prepare", uri=kept.uri, reused=kept.was_there),
    )  # fmt: skip
    return PreparedData(
        path=formatted.path,
        digest=formatted.digest,
        reused=kept.was_there,
        uri=kept.uri,
        commit=kept.commit,
    )


def _find_or_commit(data: DataVersion, formatted: FormattedData) -> PreparedCommit:
    repository, path = parse_uri(data.source).repository, formatted.digest[:DIGITS]
    client = open_client()
    if found := find_prepared(client, repository, path, WHERE):
        return found
    origin = describe_origin(data, formatted)
    cache = find_home() / "cache"
    with tempfile.TemporaryDirectory(dir=cache, prefix=".prepared-") as temporary:
        folder = Path(temporary)
        lay_out_prepared(formatted, origin, folder)
        return commit_prepared(
            client,
            repository,
            path,
            folder,
            raw_commit=data.commit,
            metadata={f"hone.{key}": value for key, value in origin.items()},
            where=WHERE,
        )


def describe_origin(data: DataVersion, formatted: FormattedData) -> dict[str, str]:
    """Return what formatted data was made from, as the commit's metadata holds it."""
    return {
        "raw_source": data.source,
        "raw_commit": data.commit,
        "raw_digest": data.digest,
        "formatted_digest": formatted.digest,
        "template_digest": formatted.template_digest,
        "base": f"{data.base.name}@{data.base.revision}",
    }


def lay_out_prepared(formatted: FormattedData, origin: dict[str, str], folder: Path) -> None:
    """Fill a folder with what is kept: `splits/NAME/`, ledger, reports, statistics, origin.

    Args:
        formatted: The formatted data.
        origin: What it was made from.
        folder: An empty folder.
    """
    from tasks.formatting.conversion.exported_splits import export_split, read_example_rows

    for name, split in sorted(formatted.splits.items()):
        rows = read_example_rows(formatted.folder / "examples" / f"{name}.jsonl")
        export_split(rows, folder / "splits" / name, name=name, digest=split.digest)
    for file in sorted(formatted.folder.iterdir()):
        if file.is_file() and file.name != MANIFEST:
            shutil.copyfile(file, folder / file.name)
    statistics = formatted.model_dump(mode="json", include={"kind", "rows", "splits"})
    write_json(folder / "statistics.json", statistics)
    write_json(folder / MARKER, origin)
