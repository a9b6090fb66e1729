from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from configs.errors import RequestError
from tasks.publishing.package import open_package, verify_package, write_package
from tasks.records.digests import digest_file
from tasks.records.writing import read_json


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "part").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    (folder / "README.md").write_text("# tiny\n")
    (folder / "part" / "more.json").write_text("{}")
    (folder / "moves.json").write_text("[]")  # of this HONE_HOME alone
    return folder


def pack(model: Path, out: Path) -> str:
    return write_package(
        model, out, title="tiny-1", metadata={"name": "tiny"}, requirements=["b==2", "a==1"]
    )


def repack(out: Path, *entries: tarfile.TarInfo, content: bytes = b"x") -> Path:
    with tarfile.open(out, "w:gz") as archive:
        for entry in entries:
            entry.size = len(content) if entry.isreg() else 0
            archive.addfile(entry, io.BytesIO(content))
    return out


def test_the_same_model_gives_the_same_bytes(model: Path, tmp_path: Path) -> None:
    first = pack(model, tmp_path / "one.tar.gz")
    os.utime(model / "README.md", (1, 1))
    (model / "README.md").chmod(0o600)
    assert pack(model, tmp_path / "two" / "other.tar.gz") == first
    assert digest_file(tmp_path / "one.tar.gz") == first
    with tarfile.open(tmp_path / "one.tar.gz") as archive:
        entries = archive.getmembers()
    assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
    assert {(e.mtime, e.uid, e.gid, e.uname, e.mode) for e in entries} == {(0, 0, 0, "", 0o644)}


def test_it_says_what_it_is_and_how_it_is_checked(home: Path, model: Path, tmp_path: Path) -> None:
    pack(model, tmp_path / "tiny.tar.gz")
    folder = open_package(tmp_path / "tiny.tar.gz")
    assert folder.is_relative_to(home)
    assert read_json(folder / "metadata.json") == {
        "schema_version": 1, "title": "tiny-1", "name": "tiny",
    }  # fmt: skip
    assert (folder / "requirements.txt").read_text() == "a==1\nb==2\n"
    sums = dict(reversed(x.split("  ")) for x in (folder / "SHA256SUMS").read_text().splitlines())
    assert sums["model.safetensors"] == digest_file(model / "model.safetensors")
    assert set(sums) == {
        "README.md", "metadata.json", "model.safetensors", "part/more.json", "requirements.txt",
    }  # fmt: skip
    assert open_package(tmp_path / "tiny.tar.gz") == folder


@pytest.mark.parametrize("name", ["tiny-1/../../outside", "/outside", "tiny-1/link"])
def test_nothing_is_written_outside(home: Path, tmp_path: Path, name: str) -> None:
    entry = tarfile.TarInfo(name)
    if name.endswith("link"):
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
    package = repack(tmp_path / "bad.tar.gz", entry)
    with pytest.raises(RequestError, match="is not a plain file below a folder"):
        open_package(package)
    assert not (tmp_path / "outside").exists()
    assert list((home / "cache" / "packages").glob("[!.]*/")) == []


def test_other_archives_and_damage_are_refused(home: Path, model: Path, tmp_path: Path) -> None:
    foreign = repack(tmp_path / "foreign.tar.gz", tarfile.TarInfo("a/model.safetensors"))
    with pytest.raises(RequestError, match="not a package of hone"):
        open_package(foreign)
    pack(model, tmp_path / "tiny.tar.gz")
    whole = (tmp_path / "tiny.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RequestError, match=r"not a readable .tar.gz"):
        open_package(tmp_path / "cut.tar.gz")


@pytest.mark.parametrize("damage", ["changed", "added", "missing"])
def test_a_changed_file_is_named(home: Path, model: Path, tmp_path: Path, damage: str) -> None:
    pack(model, tmp_path / "tiny.tar.gz")
    folder = open_package(tmp_path / "tiny.tar.gz")
    file = folder / ("other.json" if damage == "added" else "README.md")
    if damage == "missing":
        file.unlink()
    else:
        file.write_text("changed")
    with pytest.raises(RequestError, match=file.name):
        verify_package(folder, tmp_path / "tiny.tar.gz")
