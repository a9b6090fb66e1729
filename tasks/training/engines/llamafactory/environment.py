"""LLaMA-Factory's own environment: found, or made from the pinned list and never changed after.

Run: python -m tasks.training.engines.llamafactory.environment
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

from configs.errors import RequestError, RunError
from tasks.records.digests import digest_file
from tasks.records.home import find_home
from tasks.records.locks import hold_lock
from tasks.records.writing import write_text

LOG = logging.getLogger("hone")
VERSION = "0.9.5"
VARIABLE = "HONE_LLAMAFACTORY"
CONSTRAINTS = Path(__file__).with_name("constraints.txt")
REQUIREMENTS = (f"llamafactory=={VERSION}", "bitsandbytes; platform_system != 'Darwin'")
PACKAGES = ("--constraint", str(CONSTRAINTS), *REQUIREMENTS)
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
FINISHED = "finished"
DECISIVE = ("llamafactory", "torch", "transformers", "peft", "accelerate")
LINES_SHOWN = 12


def find_python() -> Path | None:
    """Return the Python of a ready environment, or None where there is none yet.

    `HONE_LLAMAFACTORY` names the folder of an environment that the user made; otherwise it is the
    one in the cache.

    Raises:
        RequestError: `HONE_LLAMAFACTORY` names a folder that is no environment.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        folder = find_folder()
        return folder / "bin" / "python" if (folder / FINISHED).is_file() else None
    python = Path(named).expanduser().absolute() / "bin" / "python"
    if not python.is_file():
        raise RequestError(
            where=VARIABLE,
            message=f"{named} is no virtual environment: it has no bin/python",
            allowed="the folder of an environment in which LLaMA-Factory is installed",
            hint="without this variable hone makes an environment by itself",
        )
    return python


def find_folder() -> Path:
    """Return where the environment of these pins lies, made or not."""
    name = f"llamafactory-{VERSION}-{digest_file(CONSTRAINTS)[:8]}"
    return find_home() / "cache" / "environments" / name


def find_engine_versions() -> dict[str, str]:
    """Return the versions that determine what it trains, by distribution; nothing is started."""
    named = os.environ.get(VARIABLE)
    if named:
        places = Path(named).expanduser().glob("lib/python*/site-packages/*.dist-info")
        installed = (place.stem.rpartition("-") for place in places)
        found = {name: version for name, _, version in installed}
    else:
        lines = CONSTRAINTS.read_text(encoding="utf-8").split()
        found = dict(line.split("==") for line in lines)
    return {f"llamafactory/{name}": found.get(name, "absent") for name in DECISIVE}


def provide_python() -> Path:
    """Return the Python of a ready environment, which is made where there is none.

    Nothing goes into hone's own environment. A half-made one, which has no marker, is made anew.

    Raises:
        RequestError: `HONE_LLAMAFACTORY` names a folder that is no environment.
        RunError: The packages could not be installed.
    """
    if python := find_python():
        return python
    folder = find_folder()
    with hold_lock(folder.with_name(f"{folder.name}.lock"), f"the environment {folder.name}"):
        return find_python() or make_environment(folder)


def make_environment(folder: Path) -> Path:
    """Make a virtual environment with LLaMA-Factory and what it needs, all pinned.

    Args:
        folder: Where to; what a broken-off attempt left there is removed.

    Returns:
        Its Python.

    Raises:
        RunError: The packages could not be installed.
    """
    LOG.info("installing LLaMA-Factory %s into %s: several GB, once", VERSION, folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = folder.with_name(f"{folder.name}.log")
    log.unlink(missing_ok=True)
    python = folder / "bin" / "python"
    is_done = (
        _run([sys.executable, "-m", "venv", "--without-pip", str(folder)], log)
        and (_install_with_uv(python, log) or _install_with_pip(python, log))
        and _run([str(python), "-I", "-c", "import llamafactory.train.tuner"], log)
    )
    if not is_done:
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()
        raise RunError(
            where=str(folder),
            message=f"LLaMA-Factory {VERSION} could not be installed; all of it: {log}",
            hint=f"run again, or name an environment that has it by {VARIABLE}",
            problems=tuple(said[-LINES_SHOWN:]),
        )
    write_text(folder / FINISHED, f"llamafactory {VERSION}\n")
    return python


def _install_with_uv(python: Path, log: Path) -> bool:
    """Install with uv, which takes seconds where pip takes minutes; False where it cannot."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        return False
    command = [uv, "pip", "install", "--quiet", "--python", str(python), *PACKAGES]
    return _run(command, log, _translate_settings())


def _install_with_pip(python: Path, log: Path) -> bool:
    """Install with hone's own pip, into the other environment."""
    command = [*PIP, "--python", str(python), "install", "--quiet", *PACKAGES]
    return _run(command, log)


def _translate_settings() -> dict[str, str]:
    """Return what pip is configured with as uv reads it: uv does not read pip's configuration."""
    found = {}
    for ours, (variable, *keys) in {
        "UV_DEFAULT_INDEX": ("PIP_INDEX_URL", "global.index-url", "install.index-url"),
        "SSL_CERT_FILE": ("PIP_CERT", "global.cert"),
    }.items():
        values = [os.environ.get(variable, ""), *map(_read_setting, keys)]
        if ours not in os.environ and any(values):
            found[ours] = next(filter(None, values))
    return found


def _read_setting(key: str) -> str:
    command = [*PIP, "config", "get", key]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def _run(command: list[str], log: Path, settings: dict[str, str] | None = None) -> bool:
    """Run a command, its words into the log; return whether it succeeded."""
    with log.open("a", encoding="utf-8") as output:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | (settings or {}),
        )
    return done.returncode == 0


def main() -> None:
    """Make the environment where it is missing, and print its Python."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.stdout.write(f"{provide_python()}\n")


if __name__ == "__main__":
    main()
