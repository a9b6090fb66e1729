"""From a shard to a part: the rows that are kept tokenised, all of them accounted for."""

from __future__ import annotations

import functools
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.formatting.intake.row_shards import OUTCOMES, load_row, read_batches
from tasks.formatting.ledger import LedgerEntry, Tally
from tasks.formatting.rendering.preview import Previews
from tasks.formatting.rendering.renderer import Renderer, load_renderer
from tasks.formatting.rows.examples import Example, example_from_dict
from tasks.formatting.splits.placing import Filtered
from tasks.formatting.tokens.part_files import PartFiles
from tasks.formatting.tokens.tokenizing import TokenizedRow, TokenSettings, tokenize_rows
from tasks.records.digests import digest_bytes, digest_value
from tasks.records.handles import Kind
from tasks.records.writing import read_json, write_json

SUMMARY = "part.json"


@dataclass(frozen=True)
class RendererPlace:
    """Where a process of its own finds the renderer."""

    tokenizer: Path | str
    chat_template: str | None
    kind: Kind
    digest: str


@dataclass(frozen=True)
class PartJob:
    """A shard to tokenise, what became of its rows so far, and where the result goes."""

    shard: Path
    shard_key: str
    folder: Path
    source: str
    files: Mapping[int, str]
    """Names of the files that the shard's rows are from, by number."""
    splits: tuple[str, ...]
    split: NDArray[np.int16]
    """The place of each row's split in `splits`; -1 for a row that is not kept."""
    repeats: NDArray[np.int64]
    """How many earlier rows of its source have a row's content."""
    filtered: Mapping[int, Filtered]
    settings: TokenSettings
    renderer: RendererPlace

    def digest(self) -> str:
        """Return the digest of what determines the part."""
        return digest_value(
            [
                self.shard_key,
                self.renderer.digest,
                asdict(self.settings),
                self.splits,
                digest_bytes(self.split.tobytes() + self.repeats.tobytes()),
                [[row, *asdict(found).values()] for row, found in self.filtered.items()],
            ]
        )


@dataclass
class PartSummary:
    """What a part holds, beside its rows."""

    key: str
    """Digest of all that determines the part; it is used again only when this is the same."""
    tally: Tally = field(default_factory=Tally)
    kinds: dict[str, Counter[str]] = field(default_factory=dict)
    """Rows by split and `kind`."""
    control_texts: int = 0
    """Texts that hold the spelling of a control token."""
    previews: Previews = field(default_factory=Previews)

    def merge(self, other: PartSummary) -> None:
        """Add what a later part counted."""
        self.tally.merge(other.tally)
        for split, counts in other.kinds.items():
            self.kinds.setdefault(split, Counter()).update(counts)
        self.control_texts += other.control_texts
        self.previews.merge(other.previews)

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as a JSON value."""
        nested = {"tally": self.tally.to_dict(), "previews": self.previews.to_dict()}
        return {**vars(self), **nested}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> PartSummary:
        """Return the summary that `to_dict` gave."""
        nested = {
            "tally": Tally.from_dict(value["tally"]),
            "kinds": {split: Counter(counts) for split, counts in value["kinds"].items()},
            "previews": Previews.from_dict(value["previews"]),
        }
        return cls(**{**value, **nested})


def write_part_alone(job: PartJob) -> PartSummary:
    """Do what `write_part` does in a process of its own."""
    place = job.renderer
    return write_part(job, _load_renderer_once(place.tokenizer, place.chat_template, place.kind))


def write_part(job: PartJob, renderer: Renderer) -> PartSummary:
    """Write the files of a part, unless an earlier run has done it."""
    key = job.digest()
    if found := _read_summary(job.folder, key):
        return found
    temporary = job.folder.with_name(f"{job.folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(job.folder, ignore_errors=True)
    temporary.mkdir(parents=True)
    summary = PartSummary(key)
    with PartFiles(temporary) as files:
        row = 0
        for batch in read_batches(job.shard):
            columns = batch.to_pydict()
            _write_batch(columns, row, job, renderer, files, summary)
            row += batch.num_rows
    write_json(temporary / SUMMARY, {**summary.to_dict(), "files": files.names})
    temporary.rename(job.folder)
    return summary


def _read_summary(folder: Path, key: str) -> PartSummary | None:
    if not (folder / SUMMARY).is_file():
        return None
    value = read_json(folder / SUMMARY)
    names = value.pop("files")
    if value["key"] != key or not all((folder / name).is_file() for name in names):
        return None
    return PartSummary.from_dict(value)


@functools.cache
def _load_renderer_once(tokenizer: Path | str, chat_template: str | None, kind: Kind) -> Renderer:
    return load_renderer(tokenizer, chat_template, kind)


def _write_batch(
    columns: dict[str, list[Any]],
    first: int,
    job: PartJob,
    renderer: Renderer,
    files: PartFiles,
    summary: PartSummary,
) -> None:
    rows = list(_join_rows(columns, first, job))
    kept = [(entry, example) for entry, example in rows if entry.outcome == "kept" and example]
    done = iter(tokenize_rows(kept, renderer, job.settings))
    entries = []
    written: list[TokenizedRow] = []
    for entry, _ in rows:
        if entry.outcome == "kept":
            row = next(done)
            entries.append(row.entry)
            written += [row] if row.tokens else []
        else:
            entries.append(entry)
    for entry in entries:
        summary.tally.add(entry)
    files.write_ledger(entries)
    _count_rows(written, renderer, summary)
    files.write_rows(written)


def _join_rows(
    columns: dict[str, list[Any]], first: int, job: PartJob
) -> Iterator[tuple[LedgerEntry, Example | None]]:
    """Yield each row's entry, as placing left it, and the example of a row that is still kept."""
    names = ("file", "line", "outcome", "reason", "detail", "content", "example")
    for place, (file, line, outcome, reason, detail, content, encoded) in enumerate(
        zip(*(columns[name] for name in names), strict=True), start=first
    ):
        origin = f"{job.files[file]}:{line}"
        if outcome:
            yield LedgerEntry(job.source, origin, OUTCOMES[outcome], reason, detail), None
            continue
        repeated = job.repeats[place]
        row_id = f"{content:016x}-{repeated}" if repeated else f"{content:016x}"
        row = load_row(encoded)
        if found := job.filtered.get(place):
            why = found.reason, found.describe(row["group"])
            filtered = LedgerEntry(job.source, origin, "filtered", *why, id=row_id)
            yield replace(filtered, other_split=found.place), None
            continue
        split = job.splits[job.split[place]]
        example = example_from_dict({**row, "id": row_id, "origin": origin})
        yield LedgerEntry(job.source, origin, "kept", split=split, id=row_id), example


def _count_rows(rows: list[TokenizedRow], renderer: Renderer, summary: PartSummary) -> None:
    controls = renderer.encoder.control_tokens
    for row in rows:
        assert row.tokens is not None
        example, split = row.example, row.entry.split
        counts = summary.kinds.setdefault(split, Counter())
        if "kind" in example.fields:
            counts[str(example.fields["kind"])] += 1
        texts = (example.text, *(message.content for message in example.messages))
        summary.control_texts += sum(bool(controls.search(text)) for text in texts)
        if split == "train":
            summary.previews.offer(example, row.tokens)
