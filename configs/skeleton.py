"""The folder that `hone init` writes: a preset and example rows to replace by one's own."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tempfile
from pathlib import Path

from configs.errors import RequestError
from configs.presets import PRESET_FOLDER, find_preset

PRESET = """\
# Your preset. `hone plan {path}/preset.yaml` says what a run will do;
# `hone run {path}/preset.yaml` does it. Every key: docs/config.md in hone's clone.

# The preset to start from; `hone configs` lists them.
extends: {base}
purpose: Fine-tuning on the rows in data/

data:
  # A path starts at this file's folder. The evaluation sets are in data/eval/.
  source: data
  # All readable files of data/ are training rows.
  pattern: null
  # The field whose rows belong together, if there is one.
  group_by: null

publish:
  # What a model that is proven better is called.
  name: "{name}"
"""

README = """\
# {name}

The next command to type:

    hone plan {path}/preset.yaml

It shows the rows as the model will see them, the split, the steps and the smallest gain that the
test set can detect. Then `hone run {path}/preset.yaml` trains, evaluates, and publishes the model
if the evidence says that it is better.

## Put your own data in

The rows here are an example by a simple rule (sums of two digits), so that both commands work as
they are. Replace them:

- `data/train.jsonl`: one row a line. A conversation, as here
  (`{{"messages": [{{"role": "user", "content": ...}}, {{"role": "assistant", "content": ...}}]}}`),
  or `prompt` and `completion`, or `instruction`, `input` and `output`, or plain `text`. More files,
  CSV, JSON, Parquet, Arrow, `.gz` and `.zst` are read too.
- `data/eval/`: what models are judged on; see the README there.

## Take another model

Change `extends:` in `preset.yaml`. `hone configs` lists the presets with the memory that each
needs.
"""

EVAL_README = """\
# Evaluation sets

- `test.jsonl`: gives the verdict; read by the gate alone. Delete it, and a tenth of the training
  rows is split off instead.
- `dev.jsonl` (yours to add): for choosing between configurations.
- `adversarial.jsonl` (yours to add): rows on which the model must not get worse.

The rows have the format of the training rows. No prompt may stand in training and here.
"""


def write_skeleton(folder: Path, base: str = "tiny") -> list[Path]:
    """Write a preset, example data and a README into a new or empty folder.

    Args:
        folder: Where; it is made when it is missing.
        base: The preset that the new one extends: a name, or a path from the current folder.

    Returns:
        The files, in the order in which to read them.

    Raises:
        RequestError: The folder holds something, is a file, or cannot be written; nothing is left
            behind then. Or there is no such base.
    """
    texts = build_texts(folder, base)
    check_free(folder)
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_all(folder, texts)
    except OSError as err:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise RequestError(f"cannot be written: {err.strerror}", where=str(folder)) from err
    return [folder / name for name in texts]


def check_free(folder: Path) -> None:
    """Refuse a folder that holds something, and a file."""
    hint = "name a new folder"
    if folder.exists() and not folder.is_dir():
        raise RequestError("is a file", where=str(folder), hint=hint)
    if folder.is_dir() and any(folder.iterdir()):
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:3])
        raise RequestError(f"holds files already ({found})", where=str(folder), hint=hint)


def build_texts(folder: Path, base: str) -> dict[str, str]:
    """Return the files' texts by their names below the folder."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._") or "my-model"
    words = {"name": stem, "path": shlex.quote(folder.as_posix()), "base": name_base(base)}
    train, test = build_rows()
    return {
        "README.md": README.format(**words),
        "preset.yaml": PRESET.format(**words),
        "data/train.jsonl": train,
        "data/eval/test.jsonl": test,
        "data/eval/README.md": EVAL_README,
    }


def name_base(base: str) -> str:
    """Return a preset as `extends:` names it from anywhere: by name, or by its absolute path."""
    path = find_preset(base, Path.cwd())
    return base if path.parent == PRESET_FOLDER else json.dumps(str(path))


def build_rows() -> tuple[str, str]:
    """Return the example's training and test rows: all sums of two digits, a fifth for the test."""
    train: list[str] = []
    test: list[str] = []
    for first in range(10):
        for second in range(10):
            turns = [
                {"role": "user", "content": f"What is {first} plus {second}?"},
                {"role": "assistant", "content": f"{first} plus {second} is {first + second}."},
            ]
            rows = test if (3 * first + second) % 5 == 0 else train
            rows.append(json.dumps({"messages": turns}) + "\n")
    return "".join(train), "".join(test)


def write_all(folder: Path, texts: dict[str, str]) -> None:
    """Write the files beside their places first, so that all of them appear or none does."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".hone-init-") as name:
        staging = Path(name)
        for relative, text in texts.items():
            path = staging / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        moved: list[Path] = []
        try:
            # One by one, so that those moved before a failure are known; preset.yaml is the last.
            for source in sorted(staging.iterdir()):
                moved.append(source.rename(folder / source.name))  # noqa: PERF401
        except OSError:
            for path in moved:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            raise
