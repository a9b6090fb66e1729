"""Which split each row was given, remembered so that it never changes when rows are added."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from configs.errors import RunError
from tasks.formatting.cleaning.near_duplicates import NUM_PERM, SIGNATURE_VERSION
from tasks.formatting.splits.split_hash import mix_bits
from tasks.records.writing import open_atomic

LOG = logging.getLogger("hone")
SCHEMA_VERSION = 1
SPLITS = ("train", "validation", "test")  # by how strictly they are held out
NO_SPLIT = -1

Digests = NDArray[np.uint64]
Codes = NDArray[np.int8]


@dataclass(frozen=True)
class Assignments:
    """The splits given so far: one element for each row; splits as indices into `SPLITS`."""

    split_version: int
    content: Digests
    prompt: Digests
    group: Digests
    split: Codes
    signed_content: Digests
    """The rows of validation and test whose signature is kept."""
    signed_split: Codes
    signatures: NDArray[np.uint32]
    """Shape (rows signed, NUM_PERM)."""


def start_assignments(split_version: int) -> Assignments:
    """Return assignments of no row."""
    nothing = np.zeros(0, np.uint64)
    codes = np.zeros(0, np.int8)
    signatures = np.zeros((0, NUM_PERM), np.uint32)
    return Assignments(split_version, nothing, nothing, nothing, codes, nothing, codes, signatures)


def free_brought_sets(assignments: Assignments, brought: frozenset[str]) -> Assignments:
    """Give the rows of a split that the source now brings itself to training, for good.

    They have then been trained on, and could not be tested on again.
    """
    codes = [code for code, name in enumerate(SPLITS) if name in brought]
    kept = ~np.isin(assignments.signed_split, codes)
    freed = np.isin(assignments.split, codes)
    return replace(
        assignments,
        split=np.where(freed, 0, assignments.split).astype(np.int8),
        signed_content=assignments.signed_content[kept],
        signed_split=assignments.signed_split[kept],
        signatures=assignments.signatures[kept],
    )


def add_rows(
    assignments: Assignments, content: Digests, prompt: Digests, group: Digests, split: Codes
) -> Assignments:
    """Return the assignments with more rows; a row that is already there stays as it is."""
    stored = _hash_row(assignments.content, assignments.prompt, assignments.group)
    rows, first = np.unique(_hash_row(content, prompt, group), return_index=True)
    new = np.sort(first[~np.isin(rows, stored)])
    return replace(
        assignments,
        content=np.concatenate([assignments.content, content[new]]),
        prompt=np.concatenate([assignments.prompt, prompt[new]]),
        group=np.concatenate([assignments.group, group[new]]),
        split=np.concatenate([assignments.split, split[new]]),
    )


def add_signatures(
    assignments: Assignments, content: Digests, split: Codes, signatures: NDArray[np.uint32]
) -> Assignments:
    """Return the assignments with the signatures of more held-out rows."""
    first = np.sort(np.unique(content, return_index=True)[1])
    first = first[~np.isin(content[first], assignments.signed_content)]
    return replace(
        assignments,
        signed_content=np.concatenate([assignments.signed_content, content[first]]),
        signed_split=np.concatenate([assignments.signed_split, split[first]]),
        signatures=np.concatenate([assignments.signatures, signatures[first]]),
    )


def find_splits(keys: Digests, known: Digests, split: Codes) -> Codes:
    """Return the split that each key was given, -1 for a key that is not known.

    Should a key be known in several, it is the one held out most strictly.
    """
    if not len(known):
        return np.full(len(keys), NO_SPLIT, np.int8)
    order = np.lexsort((split, known))
    known, split = known[order], split[order]
    last = np.searchsorted(known, keys, side="right") - 1
    found = (last >= 0) & (known[np.maximum(last, 0)] == keys)
    return np.where(found, split[np.maximum(last, 0)], NO_SPLIT).astype(np.int8)


def write_assignments(path: Path, assignments: Assignments) -> None:
    """Write assignments to a Parquet file, atomically; the same ones give the same bytes."""
    rows, signed = len(assignments.content), len(assignments.signed_content)
    is_signed = np.arange(rows + signed) >= rows
    joined = {
        "content": np.concatenate([assignments.content, assignments.signed_content]),
        "prompt": np.concatenate([assignments.prompt, np.zeros(signed, np.uint64)]),
        "group": np.concatenate([assignments.group, np.zeros(signed, np.uint64)]),
        "split": np.concatenate([assignments.split, assignments.signed_split]),
    }
    blobs = pa.array([row.astype("<u4").tobytes() for row in assignments.signatures], pa.binary())
    none = pa.nulls(rows, pa.binary())
    table = pa.table(
        {name: pa.array(values) for name, values in joined.items()}
        | {"is_signed": pa.array(is_signed), "signature": pa.chunked_array([none, blobs])}
    ).replace_schema_metadata({"hone": _describe(assignments)})
    with open_atomic(path, "wb") as file:
        pq.write_table(table, file, compression="zstd")


def read_assignments(path: Path) -> Assignments:
    """Read assignments.

    Raises:
        RunError: The file is damaged, or of a newer version.
    """
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[b"hone"])
    except (pa.ArrowException, KeyError, TypeError, ValueError) as err:
        raise RunError(
            f"not a file of split assignments: {err}",
            where=str(path),
            hint="bring it back from a backup; without it rows may change their splits",
        ) from err
    if about["schema_version"] != SCHEMA_VERSION:
        raise RunError(
            f"split assignments of schema version {about['schema_version']}",
            where=str(path),
            allowed=f"version {SCHEMA_VERSION}",
            hint="use the release of hone that wrote it, or a newer one",
        )
    return _unpack(table, about)


def _hash_row(content: Digests, prompt: Digests, group: Digests) -> Digests:
    return mix_bits(mix_bits(content) + prompt) + group


def _describe(assignments: Assignments) -> str:
    return json.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "split_version": assignments.split_version,
            "signature_version": SIGNATURE_VERSION,
            "splits": SPLITS,
        }
    )


def _unpack(table: pa.Table, about: dict[str, object]) -> Assignments:
    columns = {name: table[name].to_numpy() for name in ("content", "prompt", "group", "split")}
    signed = table["is_signed"].to_numpy()
    blobs = b"".join(table["signature"].drop_null().to_pylist())
    comparable = about["signature_version"] == SIGNATURE_VERSION
    if signed.any() and not comparable:
        LOG.warning("signatures of an earlier kind are left out: rows near old test rows may pass")
    signatures = np.frombuffer(blobs, "<u4").reshape(-1, NUM_PERM).astype(np.uint32)
    ours = np.flatnonzero(signed) if comparable else np.zeros(0, np.int64)
    return Assignments(
        split_version=int(str(about["split_version"])),
        content=columns["content"][~signed],
        prompt=columns["prompt"][~signed],
        group=columns["group"][~signed],
        split=columns["split"][~signed],
        signed_content=columns["content"][ours],
        signed_split=columns["split"][ours],
        signatures=signatures[: len(ours)],
    )
