"""Records of which there are millions: frozen for the type checker, quick to make at run time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

Record = TypeVar("Record")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen_record(kind: type[Record]) -> type[Record]:
    """Make a class a dataclass with slots that the type checker lets nobody change.

    `dataclass(frozen=True)` holds its fields at run time too, and makes an object four times as
    slowly: with three kinds of them that is a twelfth of the time of reading a row.
    """
    return dataclass(slots=True, unsafe_hash=True)(kind)
