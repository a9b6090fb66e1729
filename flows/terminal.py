"""How results are printed: one JSON object for machines, tables for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def print_json(result: dict[str, Any]) -> None:
    """Print a command's one JSON object on stdout."""
    print(json.dumps(result, ensure_ascii=False))  # noqa: T201


def print_text(text: str) -> None:
    """Print text for a person on stdout."""
    print(text)  # noqa: T201


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print a table for a person on stdout."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, title=title or None, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
