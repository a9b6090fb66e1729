"""The manifests render, ask for what a training needs, and are what Kubernetes takes."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import yaml

from configs.errors import RequestError
from configs.load import load_config
from deployments.kubernetes.render import KubernetesRun, main, render_run

ONE_HOST = KubernetesRun("llama3-8b-lora", "registry.local/hone:1.0", "hone-home", num_gpus=8)
TWO_HOSTS = KubernetesRun("llama3-8b-lora", "hone:1.0", "hone-home", num_gpus=8, num_hosts=2)


def check_pod(pod: dict[str, Any], num_gpus: int) -> dict[str, Any]:
    """Check what any training needs; return the container."""
    (container,) = pod["containers"]
    assert {"name", "image"} <= container.keys()
    assert container["resources"]["limits"]["nvidia.com/gpu"] == num_gpus
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    assert all(isinstance(value, str) for value in variables.values())
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    assert mounts[variables["HONE_HOME"]]["persistentVolumeClaim"]["claimName"] == "hone-home"
    assert mounts["/dev/shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}  # noqa: S108
    grace = load_config("tiny").training.grace_seconds
    assert pod["terminationGracePeriodSeconds"] > 2 * grace
    return dict(container)


def find_settings(words: list[str]) -> list[str]:
    """Return what follows each `--set`, checked against the schema."""
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    load_config("llama3-8b-lora", settings)
    return settings


def test_one_host_is_a_job_with_torchrun() -> None:
    manifest = render_run(ONE_HOST)
    assert (manifest["apiVersion"], manifest["kind"]) == ("batch/v1", "Job")
    pod = manifest["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # podFailurePolicy asks for it
    container = check_pod(pod, 8)
    assert container["command"] == ["hone", "run", "llama3-8b-lora"]
    assert find_settings(container["args"]) == [
        "training.num_gpus=8",
        "training.launcher=torchrun",
    ]
    fail, ignore = manifest["spec"]["podFailurePolicy"]["rules"]
    assert fail["onExitCodes"]["containerName"] == container["name"]
    assert fail["onExitCodes"]["values"] == [2, RequestError.exit_code]
    assert ignore["action"] == "Ignore"


def test_several_hosts_are_a_ray_job() -> None:
    manifest = render_run(TWO_HOSTS)
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    words = manifest["spec"]["entrypoint"].split()
    assert words[:3] == ["hone", "run", "llama3-8b-lora"]
    assert find_settings(words) == ["training.num_gpus=16", "training.launcher=ray"]
    cluster = manifest["spec"]["rayClusterSpec"]
    check_pod(cluster["headGroupSpec"]["template"]["spec"], 8)
    (workers,) = cluster["workerGroupSpecs"]
    assert {workers[f"{name}eplicas"] for name in ("r", "minR", "maxR")} == {1}
    check_pod(workers["template"]["spec"], 8)
    for group in (cluster["headGroupSpec"], workers):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


@pytest.mark.skipif(
    find_spec("kubernetes_validate") is None, reason="kubernetes-validate is not installed"
)
def test_kubernetes_takes_the_job() -> None:
    import kubernetes_validate

    kubernetes_validate.validate(
        render_run(ONE_HOST), kubernetes_validate.latest_version(), strict=True
    )


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"num_gpus": 0}, "--num-gpus"),
        ({"name": "Hone_Run"}, "--name"),
        ({"claim": "home: evil"}, "--claim"),
        ({"preset": "tiny; rm -rf /"}, "--preset"),
        ({"image": "hone\n  privileged: true"}, "--image"),
    ],
)
def test_what_would_be_read_as_something_else_is_refused(
    change: dict[str, Any], where: str
) -> None:
    with pytest.raises(RequestError) as caught:
        render_run(KubernetesRun(**(vars(ONE_HOST) | change)))
    assert caught.value.where == where


def test_the_command_line_prints_one_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--image", "registry.local/hone:1.0", "--claim", "hone-home", "--num-gpus", "8"]
    assert main(["llama3-8b-lora", *options]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == render_run(ONE_HOST)
    assert main(["llama3-8b-lora", *options, "--name", "A"]) == RequestError.exit_code
    assert "--name" in capsys.readouterr().err
