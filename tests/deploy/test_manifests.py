"""Compose file and Kubernetes manifests: valid, about settings, ports, services that exist."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from archpress_server.config import ServerConfig
from archpress_server.service.health import NAMES

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
MANIFESTS = [p for p in sorted(KUBERNETES.glob("*/*.yaml")) if p.name != "kustomization.yaml"]
IMAGE = (Path(__file__).parents[2] / "Dockerfile").read_text()
PORTS = {"grpc": ServerConfig().port, "operator": ServerConfig().metrics_port}


def documents(path: Path) -> Iterator[dict[str, Any]]:
    yield from yaml.safe_load_all(path.read_text())


def named(manifest: str, kind: str) -> dict[str, Any]:
    return next(d for d in documents(KUBERNETES / manifest) if d["kind"] == kind)


def pod(manifest: str) -> dict[str, Any]:
    found: dict[str, Any] = named(manifest, "Deployment")["spec"]["template"]["spec"]
    return found


def server(manifest: str) -> dict[str, Any]:
    (container,) = pod(manifest)["containers"]
    found: dict[str, Any] = container
    return found


def settings_of(environment: dict[str, str]) -> dict[str, str]:
    """Return the settings that variables set, by name; others must not begin like ours."""
    prefix = "ARCHPRESS_"
    return {
        name.removeprefix(prefix).lower(): value
        for name, value in environment.items()
        if name.startswith(prefix)
    }


def compose() -> dict[str, Any]:
    (found,) = documents(DEPLOY / "compose.yaml")
    return found


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_manifests_are_valid(path: Path) -> None:
    for document in documents(path):
        if path.parent.name != "tls":
            kubernetes_validate.validate(document, "1.33", strict=True)


def test_every_manifest_is_used() -> None:
    used = named_resources = set()
    for overlay in ("base", "tls"):
        (file,) = documents(KUBERNETES / overlay / "kustomization.yaml")
        named_resources = {*file["resources"], *(p["path"] for p in file.get("patches", ()))}
        used |= {f"{overlay}/{name}" for name in named_resources}
    assert {f"{path.parent.name}/{path.name}" for path in MANIFESTS} == used - {"tls/../base"}


@pytest.mark.parametrize("manifest", ["base/deployment.yaml", "tls/deployment.yaml"])
def test_variables_of_pods_are_settings(manifest: str) -> None:
    variables = {entry["name"]: entry.get("value", "") for entry in server(manifest)["env"]}
    found = settings_of(variables)
    assert len(found) == len(variables)
    assert set(found) <= set(ServerConfig.model_fields)
    ServerConfig.model_validate({name: value for name, value in found.items() if value})


def test_pods_outlive_their_drain() -> None:
    variables = {e["name"]: e.get("value", "") for e in server("base/deployment.yaml")["env"]}
    found = settings_of(variables)
    needed = float(found["drain_delay_seconds"]) + float(found["drain_grace_seconds"])
    assert pod("base/deployment.yaml")["terminationGracePeriodSeconds"] >= needed + 10


def test_probes_ask_for_what_is_served() -> None:
    container = server("base/deployment.yaml")
    assert {p["name"]: p["containerPort"] for p in container["ports"]} == PORTS
    probes = [container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")]
    for probe in probes:
        assert probe["grpc"]["port"] == PORTS["grpc"]
        assert probe["grpc"].get("service", "") in NAMES
    assert probes[1]["grpc"]["service"] == "archpress.v1.CompressionService"
    # A database that is away is no reason to restart the process.
    assert "service" not in probes[2]["grpc"]
    overlay = server("tls/deployment.yaml")
    paths = [overlay[f"{k}Probe"]["httpGet"]["path"] for k in ("startup", "readiness", "liveness")]
    assert paths == ["/readyz", "/readyz", "/livez"]


def test_pods_may_do_little() -> None:
    context = server("base/deployment.yaml")["securityContext"]
    assert context["readOnlyRootFilesystem"]
    assert not context["allowPrivilegeEscalation"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    whole = pod("base/deployment.yaml")
    assert whole["securityContext"]["runAsNonRoot"]
    assert f"USER {whole['securityContext']['runAsUser']}\n" in IMAGE
    assert whole["enableServiceLinks"] is False
    writable = {
        m["mountPath"] for m in whole["containers"][0]["volumeMounts"] if "readOnly" not in m
    }
    assert writable == {"/var/lib/archpress", "/tmp"}


def test_the_service_reaches_the_pods() -> None:
    service = named("base/service.yaml", "Service")["spec"]
    labels = named("base/deployment.yaml", "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    # A ServiceMonitor names the operator's port.
    assert {port["name"]: port["port"] for port in service["ports"]} == PORTS
    assert {port["targetPort"] for port in service["ports"]} == set(PORTS)
    budget = named("base/disruption.yaml", "PodDisruptionBudget")["spec"]["selector"]
    assert budget["matchLabels"].items() <= labels.items()


def test_the_composed_server_has_settings_that_exist() -> None:
    ours = compose()["services"]["server"]
    found = settings_of(ours["environment"])
    assert set(found) <= set(ServerConfig.model_fields)
    config = ServerConfig.model_validate(found)
    assert float(ours["stop_grace_period"].removesuffix("s")) >= config.drain_grace_seconds + 10
    assert ours["ports"] == [f"127.0.0.1:{PORTS['grpc']}:{PORTS['grpc']}"]
    assert ours["read_only"]
    assert ours["cap_drop"] == ["ALL"]


def test_composed_files_and_secrets_are_there() -> None:
    whole = compose()
    for name, service in whole["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            known = source in whole["volumes"] or (DEPLOY / source).exists()
            assert known, f"{name}: {source}"
        assert set(service.get("secrets", ())) <= set(whole["secrets"])
        assert set(service.get("depends_on", ())) <= set(whole["services"])
    targets = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (scrape,) = targets["scrape_configs"]
    assert scrape["static_configs"][0]["targets"] == [f"server:{PORTS['operator']}"]
    assert whole["services"]["server"]["build"] == ".."
