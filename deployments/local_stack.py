"""`make up` and `make down`: Prefect, MLflow, lakeFS and the workers, on this machine's loopback.

Run: python -m deployments.local_stack up|down
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from configs.errors import RunError
from deployments.automations import deploy_automations
from deployments.command_line import run_command, say
from deployments.pools import make_pools
from deployments.processes import StartedProcess, find_process, read_log_end, stop_process
from deployments.services import (
    Ports,
    Service,
    list_services,
    plan_workers_service,
    wait_until_ready,
)
from flows.server_access import explain_answers
from tasks.records.home import find_home, find_project
from tasks.records.locks import hold_lock
from tasks.records.writing import read_json, write_json, write_text

FOLDER = ".services"
RECORD = "started.json"
VARIABLES = "environment"
DEPLOY_SECONDS = 600


def find_folder() -> Path:
    """Return where the servers of `make up` keep their state, logs, and who they are."""
    return find_home() / FOLDER


def read_record() -> dict[str, StartedProcess]:
    """Return what was started, by name; whether it still runs is another question."""
    path = find_folder() / RECORD
    rows = read_json(path) if path.is_file() else []
    found = [StartedProcess.model_validate(row) for row in rows]
    return {started.name: started for started in found}


def write_record(record: dict[str, StartedProcess]) -> None:
    """Write down what was started, at once: a `make down` must find it whatever comes."""
    write_json(find_folder() / RECORD, [started.model_dump() for started in record.values()])


def bring_up(ports: Ports) -> None:
    """Start what does not run yet, wait until all answer, deploy, and print the addresses.

    Raises:
        RequestError: A port is taken.
        RunError: Something did not start; what this call started is stopped again.
    """
    folder = find_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with hold_lock(folder / "up.lock", "the start or stop of the servers"):
        record = {name: s for name, s in read_record().items() if find_process(s)}
        started: list[str] = []
        try:
            services = list_services(folder, ports, record)
            variables = _start(services, record, started)
            os.environ |= variables  # before Prefect is imported, which reads it once
            write_variables(folder / VARIABLES, variables)
            if "workers" not in record:
                deploy(folder / "deploy.log")
            _start([plan_workers_service(folder, variables)], record, started)
        except BaseException:
            for name in reversed(started):
                stop_process(record.pop(name))
            write_record(record)
            raise
    show(record, folder)


def _start(
    services: list[Service], record: dict[str, StartedProcess], started: list[str]
) -> dict[str, str]:
    """Start the services that do not run, all at once; return the variables of all."""
    for service in services:
        if service.name not in record:
            say(f"starting {service.name}: its log is {service.log}")
            record[service.name] = service.start()
            started.append(service.name)
            write_record(record)
    for service in services:
        # What has no address is asked by its log, which says nothing of a second call.
        if service.health or service.name in started:
            wait_until_ready(service, record[service.name])
    for service in services:
        service.prepare()
    return {name: value for s in services for name, value in s.variables.items()}


def deploy(log: Path) -> None:
    """Make pools, deployments and automations."""
    with explain_answers():
        asyncio.run(make_pools())
    say("deploying prefect.yaml")
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    with log.open("wb") as output:
        done = subprocess.run(
            command, cwd=find_project(), stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, timeout=DEPLOY_SECONDS, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RunError(
            message=f"the deployments were refused:\n{read_log_end(log)}", where=str(log)
        )
    with explain_answers():
        asyncio.run(deploy_automations())


def write_variables(path: Path, variables: dict[str, str]) -> None:
    """Write what a shell needs to talk to the servers, for this user alone: keys are in it."""
    path.touch(mode=0o600)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    write_text(path, "\n".join([*lines, ""]))
    path.chmod(0o600)


def show(record: dict[str, StartedProcess], folder: Path) -> None:
    """Print the addresses and the next command."""
    say("")
    for started in record.values():
        say(f"  {started.name:<8} {started.address or 'running'}")
    say("")
    say(f"  . {folder / VARIABLES}")
    say("  prefect deployment run finetune/tiny --watch")
    say("")
    say("make down stops them; nothing that they hold is lost.")


def bring_down() -> None:
    """Stop exactly what `make up` started, last first; processes that took a number are spared."""
    folder = find_folder()
    if not (folder / RECORD).is_file():
        say(f"nothing was started in {find_home()}")
        return
    with hold_lock(folder / "up.lock", "the start or stop of the servers"):
        record = read_record()
        for name in reversed(list(record)):
            was_running = stop_process(record[name])
            say(f"{name}: {'stopped' if was_running else 'was not running'}")
            del record[name]
            write_record(record)
        (folder / RECORD).unlink()
        (folder / VARIABLES).unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    """Start or stop; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("up", "down"))
    for name, port in Ports().__dict__.items():
        parser.add_argument(
            f"--{name}-port", type=int, default=port, help=f"of {name} (default: {port}; 0: free)"
        )
    found = parser.parse_args(arguments)
    ports = Ports(found.prefect_port, found.mlflow_port, found.lakefs_port)
    command: Callable[[], None] = bring_down if found.what == "down" else lambda: bring_up(ports)
    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
