"""Disturbances of a fleet in containers, each with its end: links, power, disks and clocks."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.support.stepped_clock import SteppedClock
from tools.containers.trial_fleet import SERVICES, TrialFleet

# Small enough that a probe does not fit into it: a token bucket with more lets probes pass at full speed.
_BURST: Final = "3kb"
_BALLAST: Final = "ballast"


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One disturbance.

    Attributes:
        what: for people.
        begin: starts it; blocks.
        end: ends it; blocks.
        avoided: the device that no route may use within the time limit; None if the fleet may keep its route.
    """

    what: str
    begin: Callable[[], None]
    end: Callable[[], None]
    avoided: str | None = None


def sinking_link(fleet: TrialFleet, device: str, mbps: float) -> Disturbance:
    """Return a link of a device on which its bytes leave at so many Mbps only."""

    def begin() -> None:
        for container in _containers(fleet, device):
            shape = f"tc qdisc replace dev eth0 root tbf rate {mbps}mbit burst {_BURST} latency 2s"
            _in_network(fleet, container, shape.split())

    def end() -> None:
        for container in _containers(fleet, device):
            _in_network(fleet, container, ["tc", "qdisc", "del", "dev", "eth0", "root"])

    return Disturbance(f"the uplink of {device} sinks to {mbps:g} Mbps", begin, end)


def cut_link(fleet: TrialFleet, device: str) -> Disturbance:
    """Return a device whose packets are lost in both directions, though its processes run."""

    def change(action: str) -> None:
        for container in _containers(fleet, device):
            for chain in ("INPUT", "OUTPUT"):
                _in_network(fleet, container, ("iptables", "-w", action, chain, "-j", "DROP"))

    return Disturbance(f"the link of {device} is cut", lambda: change("-A"), lambda: change("-D"), device)


def pulled_power(fleet: TrialFleet, device: str) -> Disturbance:
    """Return a device whose containers are killed and removed at once; its volume stays."""

    def begin() -> None:
        fleet.engine.run("rm", "--force", "--time", "0", *_containers(fleet, device))

    return Disturbance(f"the power of {device} is pulled", begin, lambda: fleet.start_device(device), device)


def full_disk(device: str, folder: Path) -> Disturbance:
    """Return a device whose data folder has no byte left.

    Args:
        device: its name.
        folder: where its file system is mounted here.
    """

    def begin() -> None:
        block = bytes(65536)
        with (folder / _BALLAST).open("wb", buffering=0) as ballast:
            while True:
                try:
                    ballast.write(block)
                except OSError:
                    if len(block) == 1:
                        return
                    block = block[: len(block) // 2]

    return Disturbance(f"the disk of {device} is full", begin, (folder / _BALLAST).unlink)


def stepped_clock(device: str, clock: SteppedClock, offset_s: float | None) -> Disturbance:
    """Return a device whose wall clock jumps while it runs; its end puts the clock right.

    Args:
        device: its name.
        clock: of its executor.
        offset_s: from this machine's clock; None for 1970.
    """
    if offset_s is None:
        return Disturbance(f"the clock of {device} jumps to 1970", clock.step_to_1970, lambda: clock.step(0.0))
    step = partial(clock.step, offset_s)
    return Disturbance(f"the clock of {device} jumps by {offset_s:+g} s", step, lambda: clock.step(0.0))


def make_small_disk(image: Path, folder: Path, mebibytes: int, user: int) -> None:
    """Mount an ext4 file system in a file on a folder, for a user.

    Raises:
        subprocess.CalledProcessError: this machine cannot.
    """
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(mebibytes * 2**20)
    commands = (("mkfs.ext4", "-q", "-m", "0", str(image)), ("mount", "-o", "loop", str(image), str(folder)))
    for command in (*commands, ("chown", f"{user}:{user}", str(folder))):
        subprocess.run(command, check=True, capture_output=True)


def _containers(fleet: TrialFleet, device: str) -> list[str]:
    return [fleet.container(device, role) for role in SERVICES[device]]


def _in_network(fleet: TrialFleet, container: str, command: list[str] | tuple[str, ...]) -> None:
    pid = fleet.engine.inspect(container, "{{.State.Pid}}")
    fleet.engine.command(("nsenter", "--target", pid, "--net", *command))
