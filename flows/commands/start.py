"""`hone init`: a folder to start one's own project in."""

from __future__ import annotations

from pathlib import Path

from configs.skeleton import write_skeleton
from flows.terminal import print_json, print_text


def start_project(folder: Path, *, as_json: bool) -> int:
    """Write the skeleton and say what to type next."""
    written = write_skeleton(folder)
    next_command = f"hone plan {folder / 'preset.yaml'}"
    if as_json:
        print_json({"written": [str(path) for path in written], "next": next_command})
        return 0
    print_text("\n".join(["wrote", *(f"  {path}" for path in written)]))
    print_text(f"put your rows into {folder / 'data'}, then: {next_command}")
    return 0
