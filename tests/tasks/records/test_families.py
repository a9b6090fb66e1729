"""Folders of runs that belong together."""

from __future__ import annotations

from pathlib import Path

from tasks.records.families import name_family, open_family, open_member


def test_a_member_is_named_after_its_family(home: Path) -> None:
    family = open_family("sweeps", "small-1234")
    member = open_member(family, "trial-0000", "purpose: a\n")
    assert member.name == "small-1234/trial-0000"
    assert member.folder == home / "outputs" / "sweeps" / "small-1234" / "trial-0000"
    assert (member.folder / "config.yaml").read_text() == "purpose: a\n"
    assert (home / "outputs" / "sweeps" / "latest").resolve() == family.folder.resolve()


def test_what_is_there_stays(home: Path) -> None:
    family = open_family("comparisons", name_family())
    (family.folder / "report.md").write_text("kept")
    open_family("comparisons", family.name)
    assert (family.folder / "report.md").read_text() == "kept"


def test_names_are_unique() -> None:
    assert len({name_family() for _ in range(20)}) == 20
