"""What may be wrong with an installation or a fleet, and what to do about it."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from services.cli.render.fleet_view import DeviceView, FleetView
from shared.messages.devices import State
from shared.messages.streams import StreamState
from shared.service_runtime import segue_version

LEAST_PYTHON: Final = (3, 11)
LEAST_DISK_BYTES: Final = 500 * 10**6
MOST_SKEW_S: Final = 1.0

REQUIRED: Final = ("msgpack", "numpy", "paho-mqtt", "pydantic", "rich", "typer")
EXTRAS: Final[Mapping[str, tuple[str, ...]]] = {
    "executor": ("onnx", "onnxruntime", "pillow", "zstandard"),
    "planner": ("highspy", "networkx", "scipy"),
    "collector": ("prometheus-client",),
    "broker": ("iotcore",),
}


class Level(StrEnum):
    """How bad it is."""

    GOOD = "good"
    HINT = "hint"
    """Nothing is wrong, but something could be missed."""
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: how bad it is.
        subject: what was looked at.
        text: what is the case.
        advice: what to do; empty if nothing.
    """

    level: Level
    subject: str
    text: str
    advice: str = ""


def installation_findings(data_dir: Path) -> Iterator[Finding]:
    """Look at this machine: Python, packages, Mosquitto, disk."""
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= LEAST_PYTHON:
        yield Finding(Level.GOOD, "python", python)
    else:
        yield Finding(Level.BAD, "python", python, "Segue needs Python 3.11 or newer")
    yield Finding(Level.GOOD, "segue", segue_version())
    yield from _package_findings()
    yield _mosquitto_finding()
    yield _disk_finding(data_dir)


def fleet_findings(view: FleetView, now_s: float) -> Iterator[Finding]:
    """Look at what is known of a fleet at `now_s` (wall clock). Pure."""
    yield from _service_findings(view)
    if not view.devices:
        advice = "start `segue executor --device NAME` and `segue monitor --device NAME` on every device"
        yield Finding(Level.BAD, "devices", "no executor has ever been here", advice)
    for name in sorted(view.devices):
        yield from _device_findings(view.devices[name], view, now_s)
    if not view.manifests:
        yield Finding(Level.HINT, "models", "the fleet has none", "segue model add MODEL.onnx")
    for stream in view.streams.values():
        if stream.declaration is None:
            continue
        if stream.status is None:
            yield Finding(Level.BAD, f"stream {stream.name}", "no planner has taken it", "start `segue planner`")
        elif stream.status.state is StreamState.RUNNING:
            yield Finding(Level.GOOD, f"stream {stream.name}", f"runs, epoch {stream.status.epoch}")
            for reason in stream.status.reasons:
                yield Finding(Level.HINT, f"stream {stream.name}", reason)
        else:
            reasons = "; ".join(stream.status.reasons) or "no reason given"
            yield Finding(Level.BAD, f"stream {stream.name}", f"{stream.status.state.value}: {reasons}")


def _package_findings() -> Iterator[Finding]:
    missing = [name for name in REQUIRED if _version(name) is None]
    if missing:
        yield Finding(Level.BAD, "packages", f"missing: {', '.join(missing)}", "pip install segue")
    for extra, packages in EXTRAS.items():
        absent = [name for name in packages if _version(name) is None]
        if absent:
            advice = f"to run it here: pip install 'segue[{extra}]'"
            yield Finding(Level.HINT, extra, f"cannot run on this machine without {', '.join(absent)}", advice)
        else:
            yield Finding(Level.GOOD, extra, ", ".join(f"{name} {_version(name)}" for name in packages))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _mosquitto_finding() -> Finding:
    path = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if path is None:
        advice = "a fleet of several machines wants a real broker: apt install mosquitto, with broker/mosquitto.conf"
        return Finding(Level.HINT, "mosquitto", "not installed", advice)
    try:
        told = subprocess.run([path, "-h"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(Level.HINT, "mosquitto", f"{path} does not run: {error}")
    first = told.splitlines()[0] if told else path
    return Finding(Level.GOOD, "mosquitto", first)


def _disk_finding(data_dir: Path) -> Finding:
    folder = data_dir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:.1f} GB free at {folder}"
    if free < LEAST_DISK_BYTES:
        return Finding(
            Level.BAD, "disk", text, "models and journals need room: free some, or choose another --data-dir"
        )
    return Finding(Level.GOOD, "disk", text)


def _service_findings(view: FleetView) -> Iterator[Finding]:
    by_role = {service.role: service for service in view.services.values() if service.state is State.ONLINE}
    needs = {
        "planner": "nothing is routed anew without it: segue planner",
        "collector": "outcomes are not stored without it: segue collector",
    }
    for role, need in needs.items():
        service = by_role.get(role)
        if service is None:
            yield Finding(Level.BAD, role, "is not there", need)
        else:
            yield _versioned(role, service.version)


def _device_findings(device: DeviceView, view: FleetView, now_s: float) -> Iterator[Finding]:
    subject = f"device {device.name}"
    if not device.is_online:
        yield Finding(Level.BAD, subject, "its executor is not there", f"segue executor --device {device.name}")
        return
    yield _versioned(subject, "" if device.presence is None else device.presence.version)
    monitor = view.services.get(f"monitor-{device.name}")
    if device.telemetry is None and monitor is not None and monitor.state is State.ONLINE:
        yield Finding(Level.HINT, subject, "its monitor said nothing for so long", "listen longer: --listen-s 12")
        return
    if device.telemetry is None or device.telemetry_at_s is None:
        advice = f"segue monitor --device {device.name}; without it neither load nor links are known"
        yield Finding(Level.BAD, subject, "nothing was heard from its monitor", advice)
        return
    skew_s = device.telemetry.sent_at_s - device.telemetry_at_s
    if abs(skew_s) > MOST_SKEW_S:
        advice = "times in traces and reaction times will be off: set its clock, with chrony for example"
        yield Finding(Level.BAD, subject, f"its clock is {skew_s:+.1f} s off this machine's", advice)
    if not device.profiles and view.streams:
        yield Finding(Level.HINT, subject, "has measured no model yet")
    if device.links is None and len(view.devices) > 1:
        yield Finding(Level.HINT, subject, "no link is known yet; the first probes take some seconds")


def _versioned(subject: str, its_version: str) -> Finding:
    own = segue_version()
    if its_version and its_version != own:
        return Finding(Level.HINT, subject, f"runs version {its_version}, this is {own}", "use one version everywhere")
    return Finding(Level.GOOD, subject, f"is there, version {its_version or 'unknown'}")
