"""`hone version`: hone, its code revision, and the libraries under it."""

from __future__ import annotations

import platform

from flows.terminal import print_json, print_text
from tasks.records.digests import find_versions
from tasks.tracking.revision import find_code_revision

LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "datasets", "prefect", "mlflow")


def show_version(*, as_json: bool) -> int:
    """Print the versions that a bug report needs."""
    hone = find_versions("hone-finetune")["hone-finetune"]
    versions = {"python": platform.python_version(), **find_versions(*LIBRARIES)}
    revision = find_code_revision()
    if as_json:
        print_json({"hone": hone, "code_revision": revision, "libraries": versions})
        return 0
    print_text(f"hone {hone} ({revision})")
    print_text("\n".join(f"  {name} {version}" for name, version in versions.items()))
    return 0
