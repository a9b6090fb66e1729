"""`make remote-...`: hone on a GPU host that is reached over SSH.

Run: python -m deployments.remote init|run|evaluate|worker|up|down|logs|stop|fetch
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence

from configs.errors import RequestError
from deployments.command_line import run_command, say
from deployments.ssh import Host
from tasks.records.home import find_home, find_project

# On the host: REMOTE_DIR/clone has the sources, REMOTE_DIR/home is HONE_HOME, and REMOTE_DIR/.env
# holds the keys; hone reads it, and no connection ever carries it.
UNPACK = """
rm -rf clone.new && mkdir clone.new && tar --extract --gzip --file - --directory clone.new &&
if [ -d clone/.venv ]; then mv clone/.venv clone.new/.venv; fi &&
rm -rf clone.old && if [ -d clone ]; then mv clone clone.old; fi &&
mv clone.new clone && rm -rf clone.old"""
PACK = """
cd home && [ -d artifacts/models ] || { echo "no model was published there yet" >&2; exit 1; }
set -- artifacts/models
for file in report.md metrics.json config.yaml plots; do
    if [ -e "outputs/runs/latest/$file" ]; then set -- "$@" "outputs/runs/latest/$file"; fi
done
tar --create --gzip --dereference --file - "$@" """
SECONDS_TO_FAIL = 15  # within which workers that cannot reach the server say so, and end


def find_host() -> Host:
    """Return the host that the environment names.

    Raises:
        RequestError: A variable is missing.
    """
    for name in ("REMOTE_USER", "REMOTE_HOST"):
        if not os.environ.get(name):
            raise RequestError(
                message="it is not set", where=name,
                hint="make remote-init REMOTE_USER=me REMOTE_HOST=gpu.example REMOTE_DIR=hone",
            )  # fmt: skip
    host = os.environ["REMOTE_HOST"]
    if host.startswith("-") or os.environ["REMOTE_USER"].startswith("-"):
        raise RequestError(message=f"found {host!r}", where="REMOTE_HOST", allowed="a host's name")
    return Host(
        user=os.environ["REMOTE_USER"],
        name=host,
        folder=os.environ.get("REMOTE_DIR") or "hone",
        options=tuple(shlex.split(os.environ.get("REMOTE_SSH_OPTIONS", ""))),
        python=os.environ.get("REMOTE_PYTHON", ""),
    )


def call_python(host: Host, *words: str) -> str:
    """Return a shell command that runs Python there, with the sources and keys of our folder."""
    python = shlex.quote(host.python) if host.python else "clone/.venv/bin/python"
    settings = 'HONE_HOME="$PWD/home" PYTHONPATH="$PWD/clone" OMP_NUM_THREADS=1'
    return f"env {settings} {python} {shlex.join(words)}"


def start(host: Host, name: str, *command: str) -> int:
    """Start a job there, or find the same one at work; return the exit code of the start."""
    return host.run(call_python(host, "-m", "deployments.detached", "start", name, *command))


def follow(host: Host, name: str, *options: str) -> int:
    """Print a job's log until it ends, and return its exit code."""
    return host.run(call_python(host, "-m", "deployments.detached", "follow", name, *options))


def send_sources(host: Host) -> int:
    """Send this clone as it is, with changes that are not committed, and install it there.

    Files that git ignores stay here: keys, data, runs and environments.
    """
    busy = call_python(host, "-m", "deployments.detached", "busy")
    if code := host.run(f"if [ -d clone/deployments ]; then {busy}; fi"):
        return code
    clone = find_project()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"],
        cwd=clone, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    files = [name for name in listed if name and (clone / name).exists()]
    host.send(files, clone, UNPACK)
    say(f"{len(files)} files are in {host.folder}/clone on {host.name}")
    if host.python:
        return host.run(call_python(host, "-m", "flows.cli", "version"))
    extras = os.environ.get("EXTRAS", "")
    requirement = f".[{extras}]" if extras else "."
    return host.run(
        f"cd clone && sh deployments/install.sh .venv {shlex.quote(requirement)} && cd .. && "
        + call_python(host, "-m", "flows.cli", "version")
    )


def fetch_models(host: Host) -> int:
    """Bring what was published there, and the newest report, below HONE_HOME/remote/HOST."""
    target = find_home() / "remote" / host.name
    fresh = target.with_name(f".{host.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        host.fetch(PACK, fresh)
        shutil.rmtree(target, ignore_errors=True)
        fresh.replace(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    for model in sorted(target.glob("artifacts/models/*/*")):
        say(str(model))
    return 0


def run_there(host: Host, name: str, command: Sequence[str]) -> int:
    """Start a hone command there and show it until its end; a cut connection does not end it."""
    code = start(host, name, "-m", "flows.cli", *command)
    return code or follow(host, name)


def start_workers(host: Host, pools: Sequence[str]) -> int:
    """Start the host's workers; they reach the Prefect API by what REMOTE_DIR/.env says."""
    code = start(host, "workers", "-m", "deployments.workers", *pools)
    shown = call_python(host, "-m", "deployments.detached", "follow", "workers", "--no-wait")
    return code or host.run(f"sleep {SECONDS_TO_FAIL}; {shown}")


def main(arguments: list[str] | None = None) -> int:
    """Do what is asked; return the exit code, of the command there where it was one."""
    parser = argparse.ArgumentParser(description=__doc__)
    actions = ("init", "run", "evaluate", "worker", "up", "down", "logs", "stop", "fetch")
    parser.add_argument("what", choices=actions)
    parser.add_argument("words", nargs=argparse.REMAINDER, help="of the command there")
    found = parser.parse_args(arguments)
    codes = [0]

    def command() -> None:
        codes[0] = act(find_host(), found.what, found.words)

    return run_command(command) or codes[0]


def act(host: Host, what: str, words: Sequence[str]) -> int:
    """Do one thing on the host, or with it; return the exit code of the command there."""
    if what in {"run", "evaluate"}:
        return run_there(host, what, [what, *words])
    if what in {"up", "down"}:
        return host.run(call_python(host, "-m", "deployments.local_stack", what, *words))
    if what == "stop":
        names = words or ["run"]
        return host.run(call_python(host, "-m", "deployments.detached", "stop", *names))
    actions: dict[str, Callable[[], int]] = {
        "init": lambda: send_sources(host),
        "worker": lambda: start_workers(host, words),
        "logs": lambda: follow(host, *(words or ["run"])),
        "fetch": lambda: fetch_models(host),
    }
    return actions[what]()


if __name__ == "__main__":
    sys.exit(main())
