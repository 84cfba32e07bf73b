"""Files of the deployment in containers, as far as they can be checked without any."""

import re
from typing import Any

import pytest
import yaml

from tests.support.shared_paths import REPOSITORY
from tools.containers.build_images import LARGEST_MB
from tools.containers.try_deployment import LIMITS

DEPLOY = REPOSITORY / "deploy"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
# Of a service in the Compose Specification; those that these files use.
KNOWN = {
    "cap_drop",
    "cpus",
    "environment",
    "image",
    "mem_limit",
    "pids_limit",
    "ports",
    "read_only",
    "restart",
    "security_opt",
    "stop_grace_period",
    "tmpfs",
    "user",
    "volumes",
}
ROLES = {"server.yaml": {"broker", "planner", "collector"}, "device.yaml": {"executor", "monitor"}}


def document(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / name).read_text())
    return loaded


@pytest.mark.parametrize("name", ROLES)
def test_services_are_bounded_confined_and_known(name: str) -> None:
    compose = document(name)
    assert set(compose) == {"name", "services", "volumes", "x-service"}
    assert set(compose["services"]) == ROLES[name]
    for role, service in compose["services"].items():
        assert set(service) <= KNOWN
        assert service["image"].endswith(f"/segue-{role}")
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {"mem_limit", "cpus", "pids_limit"} <= set(service)
        # A password would be seen by everyone who may inspect the container.
        assert not any("PASSWORD" in variable for variable in service.get("environment", {}))
        named = [volume.partition(":")[0] for volume in service["volumes"]]
        assert {volume for volume in named if not volume.startswith(("$", "/", "."))} <= set(compose["volumes"])


def test_every_role_has_a_target_with_a_health_check_and_runs_as_nobody_in_particular() -> None:
    stages = dict(re.findall(r"^FROM runtime AS (\w+)\n(.*?)(?=^FROM|\Z)", CONTAINERFILE, re.M | re.S))
    assert set(stages) == set(LARGEST_MB) == set().union(*ROLES.values())
    for role, stage in stages.items():
        assert f'"segue", "health", "{role}"' in stage
        assert "USER root" not in stage or stage.index("USER 10001") > stage.index("USER root")


def test_the_builder_gets_what_it_copies_and_nothing_else() -> None:
    lines = (REPOSITORY / ".containerignore").read_text().splitlines()
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINERFILE, re.M)
    assert {name for names in copied for name in names.split()} == let_in
    assert all((REPOSITORY / name).exists() for name in let_in)
    assert "*" in lines


def test_no_authority_and_no_mirror_of_a_builder_stays_in_the_files() -> None:
    for path in (DEPLOY / "Containerfile", DEPLOY / "make_environment.sh", *(DEPLOY / "compose").iterdir()):
        assert not re.search(r"https?://|index-url|trusted-host", path.read_text())


def test_limits_of_the_trial_are_variables_of_the_compose_file() -> None:
    text = (DEPLOY / "compose" / "device.yaml").read_text()
    assert all(f"${{{variable}:-" in text for limits in LIMITS.values() for variable in limits)
