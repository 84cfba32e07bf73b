"""The fleet of the trial: a server and three devices, each a compose project, as docs/deployment.md sets them up."""

import contextlib
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from broker.process import free_port
from tests.support.stepped_clock import SteppedClock, build_library
from tools.containers.build_images import REPOSITORY, image_of
from tools.containers.container_engine import CommandFailed, ContainerEngine, Skipped, say
from tools.containers.host_network import unchanged_network

DEVICES: Final = ("camera", "helper", "server")
SERVICES: Final = {"server-side": ("broker", "planner", "collector"), **dict.fromkeys(DEVICES, ("executor", "monitor"))}
_FLEET_IN_BROKER: Final = "/var/lib/segue/fleet"
_DEMO: Final = REPOSITORY / "services" / "cli" / "data"
PHOTOGRAPH: Final = "coffee.jpg"
_COMPOSE: Final = REPOSITORY / "deploy" / "compose"
_SERVER_SIDE: Final = "server-side"
# The user of the images.
IMAGE_USER: Final = 10001
_READY_S: Final = 90.0
_BARE: Final = ("--rm", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--no-healthcheck")


class TrialFleet:
    """Commands as a user types them, on containers.

    Attributes:
        folder: of the fleet's files and of what is sent.
        limits: environment of the compose files, by device.
    """

    def __init__(self, engine: ContainerEngine, folder: Path, limits: dict[str, dict[str, str]]) -> None:
        """Begin in an empty folder, without what an earlier trial may have left."""
        self.engine = engine
        self.folder = folder.absolute()
        self.limits = limits
        self._fleet = self.folder / "fleet"
        self._overrides: dict[str, Path] = {}
        self._host, self._port = _own_address(), free_port()
        self.remove()
        self._fleet.mkdir(parents=True)
        self._fleet.chmod(0o711)
        os.chown(self._fleet, IMAGE_USER, IMAGE_USER)
        work = self.folder / "work"
        work.mkdir()
        shutil.copy(_DEMO / "squeezenet1.1.onnx", work)
        shutil.copy(_DEMO / "photos" / PHOTOGRAPH, work)
        # That of the demo: this SqueezeNet was trained on blue, green and red, without scaling.
        preprocessing = {"channel_order": "BGR", "mean": [104.0, 117.0, 123.0]}
        (work / "preprocessing.json").write_text(json.dumps(preprocessing))
        labels = json.loads((_DEMO / "imagenet_labels.json").read_text())
        (work / "labels.txt").write_text("\n".join(labels) + "\n")

    @property
    def photograph(self) -> Path:
        """File of the photograph that is sent."""
        return self.folder / "work" / PHOTOGRAPH

    def account_file(self, name: str) -> Path:
        """Return the file of an account of the fleet."""
        return self._fleet / "accounts" / f"{name}.json"

    def init(self) -> None:
        """Make the fleet: `segue fleet init`."""
        self.engine.run(
            *("run", *_BARE, "--volume", f"{self._fleet}:{_FLEET_IN_BROKER}", image_of("broker")),
            *("fleet", "init", _FLEET_IN_BROKER, "--host", self._host, "--port", str(self._port)),
        )

    def start_server(self) -> None:
        """Start broker, planner and collector, and wait until they are ready."""
        self.compose(_SERVER_SIDE, "up", "-d")
        for role in SERVICES[_SERVER_SIDE]:
            self.wait_ready(_SERVER_SIDE, role)

    def enrol(self, device: str) -> None:
        """Add a device to the fleet, and let it join."""
        text = self.in_broker("fleet", "add-device", device)
        self.compose(device, "run", "--rm", "-T", "executor", "device", "join", "-", stdin=text)

    def start_device(self, device: str) -> None:
        """Start executor and monitor, and wait until they are ready."""
        self.compose(device, "up", "-d")
        for role in SERVICES[device]:
            self.wait_ready(device, role)

    def give_clock(self, device: str) -> SteppedClock:
        """Give the executor of a device, from its next start on, a wall clock that can be set.

        Raises:
            subprocess.CalledProcessError, FileNotFoundError: this machine has no C compiler.
        """
        folder = self.folder / "clock"
        folder.mkdir()
        clock = SteppedClock(build_library(folder), folder / device)
        clock.step(0.0)
        volume = f"{folder}:{folder}:ro"
        executor = {"environment": dict(clock.environment), "volumes": [volume]}
        # JSON is YAML. Compose adds the volume to those of the first file.
        self._overrides[device] = folder / f"{device}.yaml"
        self._overrides[device].write_text(json.dumps({"services": {"executor": executor}}))
        return clock

    def in_broker(self, *arguments: str) -> str:
        """Run `segue ARGUMENTS` beside the broker."""
        return self.engine.run("exec", self.container(_SERVER_SIDE, "broker"), "segue", *arguments)

    def operate(self, *arguments: str, account: str = "operator", timeout_s: float = 180.0) -> str:
        """Run `segue ARGUMENTS` as operator, in a container of its own."""
        accounts = self._fleet / "accounts"
        secrets = (f"{accounts / account}.{kind}:/run/secrets/{account}.{kind}:ro" for kind in ("json", "ca.pem"))
        volumes = [word for volume in (*secrets, f"{self.folder}/work:/work:ro") for word in ("--volume", volume)]
        return self.engine.run(
            *("run", *_BARE, *volumes, "--workdir", "/work", "--env", f"SEGUE_BROKER=/run/secrets/{account}.json"),
            *(image_of("executor"), *arguments),
            timeout_s=timeout_s,
        )

    def forge_account(self) -> str:
        """Write an account like the operator's with a wrong password, and return its name."""
        accounts = self._fleet / "accounts"
        fields = json.loads((accounts / "operator.json").read_text())
        forged = accounts / "forged.json"
        forged.write_text(json.dumps({**fields, "password": "wrong" * 5}))
        shutil.copy(accounts / "operator.ca.pem", accounts / "forged.ca.pem")
        for path in (forged, accounts / "forged.ca.pem"):
            path.chmod(0o600)
            os.chown(path, IMAGE_USER, IMAGE_USER)
        return "forged"

    def presences(self) -> dict[str, dict[str, Any]]:
        """Return the capabilities that the devices announce, by device."""
        listed = json.loads(self.operate("device", "list", "--json"))
        return {each["device"]: each["presence"]["capabilities"] for each in listed}

    def compose(self, project: str, *arguments: str, stdin: str | None = None) -> None:
        """Run podman-compose on the file of the server, or of a device."""
        file = "server.yaml" if project == _SERVER_SIDE else "device.yaml"
        own = {
            "FLEET": str(self._fleet),
            "SEGUE_PORT": str(self._port),
            "METRICS_PORT": str(free_port()),
            **self.limits.get(project, {}),
        }
        files = [_COMPOSE / file, *([self._overrides[project]] if project in self._overrides else [])]
        chosen = (word for each in files for word in ("-f", str(each)))
        self.engine.command(
            (sys.executable, "-m", "podman_compose", "-p", project, *chosen, *arguments),
            stdin=stdin,
            environment=own,
        )

    def container(self, project: str, role: str) -> str:
        """Return the name of a service's container."""
        return f"{project}_{role}_1"

    def containers(self) -> list[tuple[str, str]]:
        """Return every container's name and role."""
        return [(self.container(project, role), role) for project, roles in SERVICES.items() for role in roles]

    def health(self, container: str, role: str) -> str:
        """Return the line of `segue health`; empty if the service is not ready."""
        try:
            return self.engine.run("exec", container, "segue", "health", role).strip()
        except CommandFailed:
            return ""

    def wait_ready(self, project: str, role: str) -> None:
        """Wait until `segue health` says that a service is ready.

        Raises:
            CommandFailed: it is not within a minute and a half.
        """
        container, end_s = self.container(project, role), time.monotonic() + _READY_S
        while not self.health(container, role):
            if time.monotonic() > end_s:
                raise CommandFailed(f"{container} is not ready:\n{self.engine.run('logs', '--tail', '20', container)}")
            time.sleep(0.2)

    def remove_containers(self) -> None:
        """Remove containers, volumes and networks: all, since the storage has no others."""
        self.engine.run("rm", "--all", "--force", "--time", "5")
        for kind in ("volume", "network"):
            self.engine.run(kind, "prune", "--force")

    def remove(self) -> None:
        """Remove everything, files included."""
        self.remove_containers()
        shutil.rmtree(self.folder, ignore_errors=True)


def _own_address() -> str:
    """Return the address of this machine towards other networks. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        address: str = probe.getsockname()[0]
        return address


@contextlib.contextmanager
def trial_fleet(engine: ContainerEngine, folder: Path, limits: dict[str, dict[str, str]]) -> Iterator[TrialFleet]:
    """Yield a fleet that is removed at the end, with all that containers have changed in the machine's network.

    Raises:
        Skipped: there are no images.
    """
    if not all(engine.has_image(image_of(role)) for role in ("broker", "executor")):
        raise Skipped("there are no images: make images")
    with unchanged_network():
        fleet = TrialFleet(engine, folder, limits)
        try:
            yield fleet
        finally:
            fleet.remove()
    say("passed; containers, volumes, networks and rules are removed, images are kept in build/podman")
