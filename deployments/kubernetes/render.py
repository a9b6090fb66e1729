"""Manifests of a run on Kubernetes, from the templates beside this file.

Run: python -m deployments.kubernetes.render PRESET --image I --claim C --num-gpus N
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

from configs.errors import HoneError, RequestError

TEMPLATES = Path(__file__).parent
DNS_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123, as Kubernetes asks for
VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")  # nothing that YAML or a shell would read
RAY_VERSION = "2.60.0"  # that the image has; hone is tested with it


@dataclass(frozen=True)
class KubernetesRun:
    """A run of a preset in pods.

    Attributes:
        preset: A preset's name, or a path inside the image or the volume.
        image: An image in which the command `hone` works, for several hosts with the extra `ray`.
        claim: The persistent volume claim that holds HONE_HOME, checkpoints included.
        num_gpus: GPUs of each host.
        num_hosts: Hosts; above 1 they need the KubeRay operator.
        name: Name of the job.
        namespace: Where it runs.
        secret: A secret whose keys become environment variables; it may be missing.
        shared_memory: Size of /dev/shm.
    """

    preset: str
    image: str
    claim: str
    num_gpus: int
    num_hosts: int = 1
    name: str = "hone-run"
    namespace: str = "default"
    secret: str = "hone-keys"  # noqa: S105 - its name
    shared_memory: str = "16Gi"


def render_run(run: KubernetesRun) -> dict[str, Any]:
    """Return the manifest of a run: a Job with torchrun, or for several hosts a RayJob.

    Raises:
        RequestError: A value is none that Kubernetes takes.
    """
    check_run(run)
    template = "ray-job.yaml" if run.num_hosts > 1 else "torchrun-job.yaml"
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    counts = {
        "total_gpus": run.num_gpus * run.num_hosts,
        "num_workers": run.num_hosts - 1,  # the head is a host as well
        "ray_version": RAY_VERSION,
    }
    manifest: dict[str, Any] = yaml.safe_load(Template(text).substitute(vars(run) | counts))
    return manifest


class PlainDumper(yaml.SafeDumper):
    """Writes what stands in two places twice, for people and tools that know no aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        """Return that there are to be none."""
        return True


def check_run(run: KubernetesRun) -> None:
    """Refuse what Kubernetes would refuse, or would read as something else.

    Raises:
        RequestError: Naming the option and what it may be.
    """
    for option in ("num_gpus", "num_hosts"):
        if getattr(run, option) < 1:
            raise RequestError(where=_name(option), message="found none", allowed="1 or more")
    for option in ("name", "namespace", "claim", "secret"):
        _check(run, option, DNS_NAME, "lower-case letters, digits and '-', at most 63")
    for option in ("preset", "image", "shared_memory"):
        _check(run, option, VALUE, "letters, digits and ._/:@-")


def _check(run: KubernetesRun, option: str, pattern: re.Pattern[str], allowed: str) -> None:
    found = getattr(run, option)
    if not pattern.fullmatch(found):
        raise RequestError(where=_name(option), message=f"found {found!r}", allowed=allowed)


def _name(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def main(arguments: list[str] | None = None) -> int:
    """Print the manifest that the options ask for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset", help="a preset's name")
    parser.add_argument("--image", required=True, help="an image in which `hone` works")
    parser.add_argument("--claim", required=True, help="the volume claim that holds HONE_HOME")
    parser.add_argument("--num-gpus", type=int, required=True, help="GPUs of each host")
    parser.add_argument("--num-hosts", type=int, default=1, help="above 1: a RayJob of KubeRay")
    parser.add_argument("--name", default=KubernetesRun.name, help="name of the job")
    parser.add_argument("--namespace", default=KubernetesRun.namespace)
    parser.add_argument("--secret", default=KubernetesRun.secret, help="becomes the environment")
    parser.add_argument("--shared-memory", default=KubernetesRun.shared_memory)
    try:
        manifest = render_run(KubernetesRun(**vars(parser.parse_args(arguments))))
    except HoneError as err:
        sys.stderr.write(f"{err}\n")
        return err.exit_code
    sys.stdout.write(yaml.dump(manifest, Dumper=PlainDumper, sort_keys=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
