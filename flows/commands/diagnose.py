"""`hone doctor`: what works on this machine and which servers answer."""

from __future__ import annotations

import base64
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Literal
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import Request, urlopen

from flows.embedded_server import is_server_configured
from flows.terminal import print_json, print_table
from tasks.records.digests import find_versions
from tasks.records.home import find_home, find_project
from tasks.training.devices import detect_device

LIBRARIES = ("torch", "transformers", "peft", "datasets", "bitsandbytes", "prefect", "mlflow")
LEAST_FREE_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: Literal["ok", "note", "wrong"]
    found: str


def diagnose(*, as_json: bool) -> int:
    """Print the findings; 1 when something that a run needs is wrong."""
    findings = list(find_all())
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        print_table(["", "what", "found"], [[f.state, f.what, f.found] for f in findings])
    return 1 if any(finding.state == "wrong" for finding in findings) else 0


def find_all() -> Iterator[Finding]:
    """Look at everything, in the order in which it matters."""
    yield _check_python()
    yield from _check_libraries()
    yield _check_device()
    yield from _check_home()
    yield _check_tiny_base()
    yield _check_prefect()
    yield _check_server("MLflow", "MLFLOW_TRACKING_URI", "/health", f"{find_home()}/mlflow.db")
    yield _check_server("lakeFS", "LAKEFS_ENDPOINT", "/_health", "local folders")
    token = "set" if os.environ.get("HF_TOKEN") else "not set: gated and private models are refused"
    yield Finding("HF_TOKEN", "note" if "not" in token else "ok", token)


def _check_python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", "ok" if sys.version_info >= (3, 11) else "wrong", version)


def _check_libraries() -> Iterator[Finding]:
    for name, version in find_versions(*LIBRARIES).items():
        yield Finding(name, "wrong" if version == "absent" else "ok", version)


def _check_device() -> Finding:
    device = detect_device()
    bfloat16 = "bfloat16" if device.has_bfloat16 else "no bfloat16"
    text = f"{device.kind}: {device.name}, {device.memory_bytes / 2**30:.0f} GiB, {bfloat16}"
    return Finding("device", "ok" if device.kind == "cuda" else "note", text)


def _check_home() -> Iterator[Finding]:
    home = find_home()
    nearest = next(folder for folder in (home, *home.parents) if folder.exists())
    yield _check_writing(home, nearest)
    free_bytes = shutil.disk_usage(nearest).free
    yield Finding(
        "free space",
        "ok" if free_bytes > LEAST_FREE_BYTES else "wrong",
        f"{free_bytes / 2**30:.1f} GiB",
    )


def _check_writing(home: Path, nearest: Path) -> Finding:
    """Tell whether HONE_HOME can be written, or made in the nearest folder above it."""
    if not nearest.is_dir():
        return Finding("HONE_HOME", "wrong", f"{home}: {nearest} is not a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Finding("HONE_HOME", "wrong", f"{home}: {nearest} cannot be written")
    if nearest == home:
        return Finding("HONE_HOME", "ok", str(home))
    return Finding("HONE_HOME", "note", f"{home}: the first run makes it")


def _check_tiny_base() -> Finding:
    weights = find_project() / "data" / "tiny-base" / "model.safetensors"
    return Finding("tiny base model", "ok" if weights.is_file() else "wrong", str(weights.parent))


def _check_prefect() -> Finding:
    if not is_server_configured():
        return Finding("Prefect server", "note", "none configured: each run brings its own")
    if not os.environ.get("PREFECT_API_URL"):
        return Finding("Prefect server", "note", "configured in the active Prefect profile")
    return _check_server("Prefect server", "PREFECT_API_URL", "/health", "")


def _check_server(what: str, variable: str, health: str, default: str) -> Finding:
    """Ask a server for its health, without telling credentials that stand in its address."""
    address = os.environ.get(variable, "")
    if not address:
        return Finding(what, "note", f"{variable} is not set: {default}")
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:  # its message repeats the address
        return Finding(what, "wrong", f"{variable} is not an address that can be read")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return Finding(what, "note", f"{variable} is not an http address: not asked")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown = f"{parts.scheme}://{host}{f':{port}' if port else ''}"
    url = shown + parts.path.removesuffix("/api/v1").rstrip("/") + health
    problem = _ask(url, _make_headers(parts))
    return Finding(what, "wrong" if problem else "ok", f"{shown}: {problem or 'answers'}")


def _make_headers(parts: SplitResult) -> dict[str, str]:
    """Return the credentials of an address as the header that carries them."""
    if parts.username is None:
        return {}
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


def _ask(url: str, headers: dict[str, str]) -> str:
    """Return what is wrong with a server's answer; empty when it answers."""
    try:
        urlopen(Request(url, headers=headers), timeout=5).close()  # noqa: S310 - http, see above
    except HTTPError as err:
        return f"answers with status {err.code}"
    except (URLError, HTTPException, OSError, ValueError) as err:
        return f"does not answer ({getattr(err, 'reason', err)})"
    return ""
