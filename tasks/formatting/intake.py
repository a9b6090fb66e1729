"""Reading the pinned files of a data version into a ledger of understood and broken rows."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from configs.errors import RequestError
from configs.schema import DataConfig, FormatName
from tasks.formatting.examples import Example, digest_content, digest_prompt
from tasks.formatting.formats import (
    Conversation,
    Rejection,
    check_roles,
    detect_format,
    detect_missing_keys,
    parse_row,
)
from tasks.formatting.json_rows import ReadProblem
from tasks.formatting.ledger import TRAIN, LedgerEntry
from tasks.formatting.readers import Row, SourceFile, list_source_files, read_rows
from tasks.records.handles import Kind

LOG = logging.getLogger("hone")
ID_CHARS = 16


@dataclass
class Intake:
    """What was read: filled row by row while the files are gone through."""

    entries: list[LedgerEntry] = field(default_factory=list)
    formats: dict[str, FormatName] = field(default_factory=dict)
    """The format of each file, by `source: name`."""
    mapped_roles: Counter[str] = field(default_factory=Counter)
    """How many turns each name in `data.roles` was found in."""

    @property
    def kind(self) -> Kind:
        """Whether the rows are conversations or texts."""
        return "text" if set(self.formats.values()) == {"text"} else "messages"


def read_sources(source: Path, data: DataConfig) -> Intake:
    """Read every training file and evaluation set of a data version.

    Args:
        source: Holds `train/` and, for each evaluation set, `eval/<name>/`, with files below.
        data: How rows are understood.

    Raises:
        RequestError: No file, an unreadable one, formats that do not go together.
    """
    check_roles(data.roles)
    intake = Intake()
    for name, folder in list_sources(source).items():
        files = list_source_files(folder) if folder.is_dir() else []
        if not files:
            raise RequestError(
                where="data.source",
                message=f"no readable file for {name}",
                allowed=".csv .json .jsonl .ndjson .parquet .txt, plain or .gz",
            )
        seen: Counter[str] = Counter()
        for file in files:
            intake.entries += _read_file(file, name, data, intake, seen)
    _check_kinds(intake)
    for role in sorted(set(data.roles) - set(intake.mapped_roles)):
        LOG.warning('data.roles: no turn has the role "%s"', role)
    return intake


def list_sources(source: Path) -> dict[str, Path]:
    """Return the folder of the training files and of each evaluation set, by name."""
    sets = sorted(p for p in (source / "eval").glob("*") if p.is_dir())
    if any(p.name == TRAIN for p in sets):
        raise RequestError(where="data.eval_sources.train", message="an evaluation set named train")
    return {TRAIN: source / "train", **{p.name: p for p in sets}}


def _read_file(
    file: SourceFile, source: str, data: DataConfig, intake: Intake, seen: Counter[str]
) -> Iterator[LedgerEntry]:
    name = data.format
    for line, row in read_rows(file):
        origin = f"{file.name}:{line}"
        if isinstance(row, ReadProblem):
            yield LedgerEntry(source, origin, "invalid", reason=row.reason, detail=row.detail)
            continue
        found = None if data.format else detect_format(row)
        if name and found and found != name:
            raise RequestError(
                where=origin,
                message=f"this row has the format {found}, the rows before it {name}",
                allowed="one format a file",
                hint="split the file, or name the format with data.format",
            )
        name = name or found
        if name:
            intake.formats[f"{source}: {file.name}"] = name
        parsed = _parse(row, name, data)
        if isinstance(parsed, Rejection):
            yield LedgerEntry(source, origin, "invalid", reason=parsed.reason, detail=parsed.detail)
            continue
        intake.mapped_roles.update(parsed.mapped_roles)
        yield LedgerEntry(source, origin, "kept", _make_example(row, parsed, origin, data, seen))


def _parse(row: Row, name: FormatName | None, data: DataConfig) -> Conversation | Rejection:
    if name is None:
        return Rejection("unknown_format", detect_missing_keys(row, "messages"))
    if data.group_by and not isinstance(row.get(data.group_by), str | int):
        detail = f'no text or number under "{data.group_by}", which data.group_by names'
        return Rejection("missing_group", detail)
    return parse_row(row, name, data.roles, data.system_prompt)


def _make_example(
    row: Row, parsed: Conversation, origin: str, data: DataConfig, seen: Counter[str]
) -> Example:
    content = digest_content(parsed.messages, parsed.text)[:ID_CHARS]
    repeated = seen[content]
    seen[content] += 1
    group = row[data.group_by] if data.group_by else digest_prompt(parsed.messages, parsed.text)
    return Example(
        id=f"{content}-{repeated}" if repeated else content,
        group=str(group) if data.group_by else group[:ID_CHARS],
        messages=parsed.messages,
        text=parsed.text,
        origin=origin,
        fields={
            key: value
            for key, value in row.items()
            if key not in parsed.keys and isinstance(value, str | int | float | bool)
        },
    )


def _check_kinds(intake: Intake) -> None:
    texts = [file for file, name in intake.formats.items() if name == "text"]
    others = [file for file, name in intake.formats.items() if name != "text"]
    if texts and others:
        raise RequestError(
            where="data.format",
            message=f"texts ({_list_first(texts)}) beside conversations ({_list_first(others)})",
            allowed="one kind of rows a run",
            hint="choose the files with data.pattern",
        )


def _list_first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
