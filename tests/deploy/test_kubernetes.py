"""Manifests of Kubernetes: what they say fits the code, and renders with the secrets of a fleet."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from broker.fleet_configuration import mosquitto_configuration
from broker.fleet_folder import FleetFolder
from broker.site_folder import set_site, write_site
from shared.bus.roles import Role

FOLDER = Path("deploy/kubernetes")
FILES = [
    path for name in ("base", "pair") for path in sorted((FOLDER / name).glob("*.yaml")) if path.stem != "kustomization"
]
IN_POD = Path("/etc/segue/broker")


def documents(*paths: Path) -> list[dict[str, Any]]:
    return [each for path in paths for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def pods() -> dict[str, dict[str, Any]]:
    kinds = ("StatefulSet", "DaemonSet")
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in documents(*FILES)
        if each["kind"] in kinds
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_field_is_one_of_kubernetes(path: Path) -> None:
    for document in documents(path):
        kubernetes_validate.validate(document, "1.32", strict=True)


def test_the_brokers_configuration_is_the_one_of_a_fleet() -> None:
    text = (FOLDER / "base" / "mosquitto.conf").read_text(encoding="utf-8")
    assert text == mosquitto_configuration(IN_POD, ("segue-broker",), 8883, None)


@pytest.mark.parametrize("name", sorted(pods()))
def test_no_container_has_rights_or_lacks_bounds(name: str) -> None:
    pod = pods()[name]
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert not context["allowPrivilegeEscalation"]
        assert context.get("runAsNonRoot") or pod["securityContext"].get("runAsNonRoot")
        # Without requests, limits are requests, and pods stay Pending.
        assert container["resources"].keys() == {"requests", "limits"}
        assert {"readinessProbe", "livenessProbe", "startupProbe"} <= container.keys()
        for variable in container.get("env", ()):
            assert "PASSWORD" not in variable["name"]


def test_every_file_that_mosquitto_reads_is_mounted() -> None:
    for name in ("segue-broker-a", "segue-broker-b"):
        (container,) = pods()[name]["containers"]
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        named = [
            line.split()[-1]
            for line in (FOLDER / "base" / "mosquitto.conf").read_text().splitlines()
            if str(IN_POD) in line
        ]
        assert {path.rstrip("/") for path in named} - {f"{IN_POD}/mosquitto.pid"} <= mounted
        assert f"{IN_POD}/mosquitto.conf" in mounted


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is missing")
def test_the_example_renders_with_the_files_of_a_fleet(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    example = tmp_path / "kubernetes" / "example"
    fleet = FleetFolder.create(example / "fleet", ("segue-broker", "segue-broker-a"), 8883, "segue/v1")
    with FleetFolder.changing(fleet.path) as opened:
        opened.add("node-1", Role.DEVICE).write(example / "devices")
        set_site(opened, "b", ("segue-broker",), None, first_host="segue-broker-a", is_twin=True)
    write_site(opened, "b", example / "twin", IN_POD)
    done = subprocess.run(
        ["kubectl", "kustomize", str(example)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    rendered = list(yaml.safe_load_all(done.stdout))
    for document in rendered:
        kubernetes_validate.validate(document, "1.32", strict=True)
    secrets = {each["metadata"]["name"] for each in rendered if each["kind"] == "Secret"}
    used = {
        volume["secret"]["secretName"]
        for each in rendered
        if each["kind"] in ("StatefulSet", "DaemonSet")
        for volume in each["spec"]["template"]["spec"]["volumes"]
        if "secret" in volume
    }
    assert len(secrets) == 5
    assert used == secrets
    assert all(
        each["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/part-of"] == "segue"
        for each in rendered
        if each["kind"] in ("StatefulSet", "DaemonSet")
    )
