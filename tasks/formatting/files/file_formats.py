"""Which format each file of a data version has."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from configs.schema import DataConfig, FormatName
from tasks.formatting.files.json_rows import ReadProblem
from tasks.formatting.files.readers import SourceFile, list_source_files, read_rows
from tasks.formatting.intake.data_intake import list_sources
from tasks.formatting.intake.row_intake import Sightings, rename_row
from tasks.formatting.rows.formats import detect_format

UNKNOWN = "unknown"
MAX_ROWS = 1000  # the first of them that is no broken one tells


def find_formats(source: Path, data: DataConfig) -> dict[str, str]:
    """Return the format of each file of a data version, by `set: name`.

    Args:
        source: Holds `train/` and, for each evaluation set, `eval/<name>/`.
        data: The format that is given, if any.
    """
    return {
        f"{name}: {file.name}": data.format or find_format(file, data) or UNKNOWN
        for name, folder in list_sources(source).items()
        for file in list_source_files(folder)
    }


def find_format(file: SourceFile, data: DataConfig) -> FormatName | None:
    """Return the format of a file's first row that has one."""
    for _, raw in islice(read_rows(file), MAX_ROWS):
        row = raw if isinstance(raw, ReadProblem) else rename_row(raw, data, Sightings())
        if isinstance(row, dict) and (found := detect_format(row)):
            return found
    return None
