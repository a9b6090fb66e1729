"""Pool templates, compose file and Kubernetes manifests are what their tools take."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED,
    temporary_settings,
)

from configs.load import load_config
from deployments.kubernetes.render import PlainDumper
from deployments.pools import TEMPLATES, read_template
from tests.flows.running import ROOT

MANIFESTS = sorted((ROOT / "deployments" / "kubernetes" / "servers").glob("*.yaml"))
COMPOSE = ROOT / "deployments" / "compose.yaml"
PINNED = re.compile(r"[\w./-]+:[\w.-]*\d[\w.-]*")
SECRET_WORDS = ("PASSWORD", "SECRET", "AUTH_STRING", "TOKEN", "ACCESS_KEY", "REDISCLI_AUTH")
GRACE = load_config("tiny").training.grace_seconds


def render(
    pool_type: str, configuration: Any, values: dict[str, Any], *, has_gpus: bool = True
) -> Any:
    """Return the job that a pool's template makes of a deployment's variables."""
    template = read_template(pool_type, has_gpus=has_gpus)
    schema = template["variables"]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(values, schema)
    defaults = {name: field.get("default") for name, field in schema["properties"].items()}
    assert set(values) <= set(defaults)
    nowhere = {
        PREFECT_API_URL: "http://127.0.0.1:9/api",  # no block is asked for; else Prefect starts one
        PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED: False,
    }
    with temporary_settings(nowhere):
        return asyncio.run(configuration.from_template_and_values(template, values))


def read_job_variables() -> dict[str, Any]:
    """Return the variables that every deployment of prefect.yaml sets."""
    found = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    return dict(found["definitions"]["work_pools"]["gpu"]["job_variables"])


def test_a_docker_job_asks_for_gpus() -> None:
    from docker.models.containers import _create_container_args
    from prefect_docker.worker import DockerWorkerJobConfiguration

    job = render("docker", DockerWorkerJobConfiguration, read_job_variables() | {"gpus": 2})
    (request,) = job.container_create_kwargs["device_requests"]
    assert request == {"Driver": "nvidia", "Count": 2, "Capabilities": [["gpu"]]}
    assert job.container_create_kwargs["shm_size"] == "8g"
    made = _create_container_args(
        {"image": job.image, "version": "1.50"} | job.container_create_kwargs
    )  # refuses what Docker's client does not know
    assert made["host_config"]["DeviceRequests"][0]["Count"] == 2
    assert made["host_config"]["ShmSize"] == 8 * 2**30
    assert job.env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    assert not job.stream_output
    assert not job.privileged
    assert job.volumes == ["hone-home:/hone"]
    whole = render("docker", DockerWorkerJobConfiguration, {})
    assert whole.container_create_kwargs["device_requests"][0]["Count"] == -1
    plain = render("docker", DockerWorkerJobConfiguration, read_job_variables(), has_gpus=False)
    assert set(plain.container_create_kwargs) == {"shm_size", "init"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_kubernetes_job_asks_for_gpus_and_is_one_that_kubernetes_takes() -> None:
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

    values = read_job_variables() | {"gpus": 4, "node_selector": {"gpu": "h100"}, "name": "train"}
    job = render("kubernetes", KubernetesWorkerJobConfiguration, values)
    manifest = job.job_manifest
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 4
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert pod["terminationGracePeriodSeconds"] > 2 * GRACE
    shared = next(v for v in pod["volumes"] if v["name"] == "shared-memory")
    home = next(mount for mount in container["volumeMounts"] if mount["name"] == "home")
    image = (ROOT / "deployments" / "Dockerfile").read_text(encoding="utf-8")
    assert f"HONE_HOME={home['mountPath']} " in image  # what the job's environment does not say
    assert shared["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}
    assert manifest["spec"]["backoffLimit"] == 0
    # What a worker fills in when it starts the job.
    container["env"] = [{"name": k, "value": v} for k, v in job.env.items()]
    container["args"] = ["prefect", "flow-run", "execute"]
    for name in ("completions", "parallelism"):  # Kubernetes passes over them there
        del pod[name]
    for place in (manifest["metadata"], manifest["spec"]["template"]["metadata"]):
        place["labels"] = {"app": "hone"}
    check_manifest(prune(manifest))


def prune(value: Any) -> Any:
    """Return the value without what is null: Kubernetes reads it as not given."""
    if isinstance(value, dict):
        return {k: prune(v) for k, v in value.items() if v is not None}
    return [prune(v) for v in value] if isinstance(value, list) else value


def check_manifest(manifest: dict[str, Any]) -> None:
    version = kubernetes_validate.latest_version()
    kubernetes_validate.validate(manifest, version, strict=True)


def read_manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in MANIFESTS:
        for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            plain = yaml.safe_load(yaml.dump(manifest, Dumper=PlainDumper))
            yield f"{path.stem}/{manifest['kind']}/{manifest['metadata']['name']}", plain


@pytest.mark.parametrize(
    ("name", "manifest"), list(read_manifests()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_kubernetes_takes_the_servers(name: str, manifest: dict[str, Any]) -> None:
    check_manifest(manifest)
    pod = manifest.get("spec", {}).get("template", {}).get("spec")
    if pod is None:
        return
    (container,) = pod["containers"]
    assert PINNED.fullmatch(container["image"]), container["image"]
    assert "latest" not in container["image"]
    assert container["resources"]["limits"]["memory"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    if manifest["kind"] != "Job" and manifest["metadata"]["name"] != "prefect-services":
        assert {"readinessProbe", "livenessProbe"} <= container.keys()
    mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
    claims = manifest["spec"].get("volumeClaimTemplates", [])
    given = {v["name"] for v in pod.get("volumes", [])} | {c["metadata"]["name"] for c in claims}
    assert mounted == given
    for variable in container["env"]:
        if any(word in variable["name"] for word in SECRET_WORDS):
            assert variable["valueFrom"]["secretKeyRef"]["name"] == "hone-keys", variable["name"]


def test_the_servers_of_both_are_the_same() -> None:
    found = {
        m["metadata"]["name"]: m for _, m in read_manifests() if "template" in m.get("spec", {})
    }
    services = set(yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"])
    assert set(found) == services
    policy = next(m for name, m in read_manifests() if "NetworkPolicy" in name)
    assert policy["spec"]["podSelector"] == {}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text(encoding="utf-8")))


def test_compose_takes_the_file(compose: dict[str, Any]) -> None:
    folder = Path(str(files("check_jsonschema"))) / "builtin_schemas" / "vendor"
    schema = json.loads((folder / "compose-spec.json").read_text(encoding="utf-8"))
    jsonschema.validate(compose, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(compose | {"services": {"a": {"imag": "b:1"}}}, schema)


def test_the_servers_of_the_file_are_checked_pinned_and_on_loopback(
    compose: dict[str, Any],
) -> None:
    volumes = set(compose["volumes"])
    for name, service in compose["services"].items():
        image = re.sub(r"\$\{\w+:-([^}]+)\}", r"\1", service["image"])
        assert PINNED.fullmatch(image), image
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))
        assert name == "deploy" or "healthcheck" in service
        for other, wanted in service.get("depends_on", {}).items():
            assert "healthcheck" in compose["services"][other] or "completed" in wanted["condition"]
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= volumes
    (gpu,) = compose["services"]["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert gpu["capabilities"] == ["gpu"]


def test_no_secret_stands_in_the_file(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if any(word in name for word in SECRET_WORDS) or "://hone:" in str(value):
                assert re.search(r"\$\{\w+:[?-]", str(value)), name


def test_what_the_docs_say_of_secrets_is_what_the_files_ask_for(compose: dict[str, Any]) -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text(encoding="utf-8")))
    text = "".join(path.read_text(encoding="utf-8") for path in MANIFESTS)
    assert set(re.findall(r"name: hone-keys, key: (\w+)", text)) == asked
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert asked <= set(re.findall(r"`(\w+)`", page))


def test_the_templates_are_for_types_that_make_pools_takes() -> None:
    assert {path.stem for path in TEMPLATES.glob("*.yaml")} == {"docker", "kubernetes"}
