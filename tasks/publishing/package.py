"""A model in one file: `.tar.gz` with metadata, card, requirements, checksums; reproducible."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from configs.errors import RequestError
from tasks.publishing.local import DIGESTS, UNCOVERED
from tasks.records.digests import digest_bytes, digest_file, list_files
from tasks.records.home import find_home
from tasks.records.locks import hold_lock
from tasks.records.writing import open_atomic

SUFFIX = ".tar.gz"
METADATA, REQUIREMENTS, CHECKSUMS = "metadata.json", "requirements.txt", "SHA256SUMS"
SCHEMA_VERSION = 1
COMPRESSION = 6


def write_package(
    folder: Path, out: Path, *, title: str, metadata: Mapping[str, Any], requirements: list[str]
) -> str:
    """Write a model's folder as one file; the same folder gives the same bytes.

    Args:
        folder: A version's folder, or any model in Hugging Face's shape.
        out: The `.tar.gz`, replaced atomically.
        title: The name of the one folder in it, such as `my-model-3`.
        metadata: What is known about the model, as JSON.
        requirements: What `pip` needs to install to load it.

    Returns:
        The file's SHA-256.
    """
    kept_here = UNCOVERED - {DIGESTS}
    files = {n: folder / n for n in list_files(folder) if n.split("/")[0] not in kept_here}
    described = {"schema_version": SCHEMA_VERSION, "title": title, **metadata}
    texts = {
        METADATA: json.dumps(described, indent=2, sort_keys=True, ensure_ascii=False) + "\n",
        REQUIREMENTS: "".join(f"{line}\n" for line in sorted(requirements)),
    }
    sums = {name: digest_file(path) for name, path in files.items()}
    sums |= {name: digest_bytes(text.encode()) for name, text in texts.items()}
    texts[CHECKSUMS] = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    with (
        open_atomic(out, "wb") as file,
        gzip.GzipFile("", "wb", COMPRESSION, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted({*files, *texts}):
            if name in texts:
                content = texts[name].encode()
                _add(archive, f"{title}/{name}", len(content), io.BytesIO(content))
            else:
                with files[name].open("rb") as source:
                    _add(archive, f"{title}/{name}", files[name].stat().st_size, source)
    return digest_file(out)


def _add(archive: tarfile.TarFile, name: str, size: int, content: IO[bytes]) -> None:
    """Add a file without its time, owner and mode, which differ from machine to machine."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    archive.addfile(entry, content)


def is_package(path: Path) -> bool:
    """Return whether a path looks like a package of a model."""
    return path.name.endswith(SUFFIX) and path.is_file()


def open_package(path: Path) -> Path:
    """Return the folder of a package's model, unpacked once into HONE_HOME and verified.

    Raises:
        RequestError: It is not a package, is damaged, or holds something else than files.
    """
    target = find_home() / "cache" / "packages" / digest_file(path)[:32]
    with hold_lock(target.with_suffix(".lock"), f"the package {path.name}"):
        if not target.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpack-") as temporary:
                root = _unpack(path, Path(temporary))
                verify_package(root, path)
                root.replace(target)
    return target


def _unpack(path: Path, folder: Path) -> Path:
    """Unpack the regular files of a package's one folder; nothing else is ever written."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            for entry in archive:
                name = PurePosixPath(entry.name)
                if not entry.isreg() or name.is_absolute() or ".." in name.parts:
                    raise RequestError(
                        where=str(path), message=f"{entry.name} is not a plain file below a folder"
                    )
                file = folder.joinpath(*name.parts)
                file.parent.mkdir(parents=True, exist_ok=True)
                content = archive.extractfile(entry)
                assert content is not None, entry.name
                with content, file.open("wb") as out:
                    shutil.copyfileobj(content, out)
    except (tarfile.TarError, OSError, EOFError) as err:
        if isinstance(err, OSError) and err.errno:
            raise  # a full disk, say
        raise RequestError(where=str(path), message=f"not a readable .tar.gz: {err}") from err
    roots = list(folder.iterdir())
    if len(roots) != 1 or not (roots[0] / CHECKSUMS).is_file():
        raise RequestError(
            where=str(path),
            message=f"not a package of hone: it has no {CHECKSUMS} in its one folder",
            hint="`hone export MODEL --format package` and publish.targets: [package] make one",
        )
    return roots[0]


def verify_package(root: Path, path: Path) -> None:
    """Refuse a package with a missing, added or changed file.

    Raises:
        RequestError: Naming the first one.
    """
    lines = (root / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = set(list_files(root)) - {CHECKSUMS}
    changed = [n for n in sorted(found & set(sums)) if digest_file(root / n) != sums[n]]
    if wrong := sorted(found ^ set(sums)) + changed:
        raise RequestError(
            where=str(path), message=f"{wrong[0]} is missing, was added, or was changed"
        )
