"""Checks of an installation and of a fleet, with advice for every fault."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from broker.mosquitto import find_mosquitto
from services.cli.render.fleet_view import DeviceView, FleetView, StreamView
from services.cli.render.refusal_text import refusal_texts
from services.cli.support.retained_messages import NEEDED, RetainedMessages, can_check, clearing_command
from services.cli.support.transport_advice import advice_text, transport_advice
from shared.bus.exposure import exposures, is_this_machine
from shared.bus.settings import BusSettings
from shared.messages.bounds import clean_text
from shared.messages.devices import State
from shared.messages.streams import StreamPhase
from shared.service_runtime import segue_version

MIN_PYTHON: Final = (3, 11)
MIN_FREE_BYTES: Final = 500 * 10**6
MAX_CLOCK_SKEW_S: Final = 1.0

REQUIRED: Final = ("mqtt5", "msgpack", "pydantic", "rich", "typer")
EXTRAS: Final[Mapping[str, tuple[str, ...]]] = {
    "executor": ("cryptography", "numpy", "onnx", "onnxruntime", "pillow", "zstandard"),
    "planner": ("cryptography", "highspy", "numpy", "scipy"),
    "collector": ("prometheus-client",),
    "broker": ("iotcore",),
    "fleet": ("cryptography",),
}

_DISK_ADVICE: Final = "free space, or mend the disk: everything then goes on by itself, and nothing is lost"
_RIGHTS_ADVICE: Final = (
    "a fleet of `segue fleet init` has every right that it needs (docs/access-rights.md); for a stream, `segue fleet "
    "add-stream` names its source; else give its account this right, and let the broker read the rules again"
)
_REFUSAL_ADVICE: Final = "other devices run these blocks if they can; `segue stream list` tells if no device can"


class Level(StrEnum):
    """Severity of a finding."""

    GOOD = "good"
    HINT = "hint"
    """Not a fault, but a part is missing or could surprise."""
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        level: severity.
        subject: the part that was checked.
        text: its state.
        advice: the remedy; empty if there is nothing to do.
    """

    level: Level
    subject: str
    text: str
    advice: str = ""


def installation_findings(data_dir: Path) -> Iterator[Finding]:
    """Check this machine: Python, packages, Mosquitto, free disk space."""
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= MIN_PYTHON:
        yield Finding(Level.GOOD, "python", python)
    else:
        yield Finding(Level.BAD, "python", python, "Segue needs Python 3.11 or newer")
    yield Finding(Level.GOOD, "segue", segue_version())
    yield from _package_findings()
    yield _mosquitto_finding()
    yield _disk_finding(data_dir)


def fleet_findings(view: FleetView, now_s: float) -> Iterator[Finding]:
    """Check the state of a fleet at `now_s` (wall clock)."""
    yield from _service_findings(view)
    yield from _planner_findings(view)
    if not view.devices:
        advice = "start `segue executor --device NAME` and `segue monitor --device NAME` on every device"
        yield Finding(Level.BAD, "devices", "no executor has ever been here", advice)
    for name in sorted(view.devices):
        yield from _device_findings(view.devices[name], view, now_s)
    if not view.manifests:
        yield Finding(Level.HINT, "models", "the fleet has none", "segue model add MODEL.onnx")
    for stream in view.streams.values():
        if stream.declaration is not None:
            yield from _stream_findings(stream)
            advised = transport_advice(view, stream)
            if advised is not None:
                yield Finding(Level.HINT, f"stream {stream.name}", advised, advice_text(view, stream))


def exposure_findings(broker: BusSettings) -> Iterator[Finding]:
    """Check whether the way to a broker on another machine is open. It blocks: the host is looked up."""
    found = exposures(broker)
    if not found or is_this_machine(broker.host):
        return
    for lacking in found:
        yield Finding(Level.HINT, "broker", f"insecure: {lacking}", "make a closed fleet: segue fleet init")


def retained_findings(
    retained: RetainedMessages, view: FleetView, now_s: float, broker: BusSettings
) -> Iterator[Finding]:
    """Check what a broker has retained: messages that services ignore, and those of streams that are not declared.

    Args:
        retained: what it has retained.
        view: of the fleet, for plans that contradict their stream or their model.
        now_s: wall clock.
        broker: where it is, for the commands that clear them.
    """
    for subject, package in NEEDED.items():
        if not can_check(subject):
            advice = "run `segue doctor` where the planner or an executor is installed"
            yield Finding(Level.HINT, subject, f"not checked: the package {package} is not installed", advice)
    # A reason from the message alone comes before one from others.
    for topic, reason in sorted({**dict(view.misfits(now_s)), **dict(retained.faults())}.items()):
        advice = f"services ignore it; clear it with: {clearing_command(broker, topic)}"
        yield Finding(Level.BAD, f"topic {clean_text(topic)}", f"its retained message is refused: {reason}", advice)
    for topic, reason in retained.strays():
        advice = f"if it is not wanted any more, clear it with: {clearing_command(broker, topic)}"
        yield Finding(Level.HINT, f"topic {clean_text(topic)}", f"it is retained, and {reason}", advice)


def _stream_findings(stream: StreamView) -> Iterator[Finding]:
    subject, status = f"stream {stream.name}", stream.status
    if status is None:
        yield Finding(Level.BAD, subject, "no planner has taken it", "start `segue planner`")
    elif status.state is StreamPhase.RUNNING:
        yield Finding(Level.GOOD, subject, f"runs, epoch {status.epoch}")
        for reason in status.reasons:
            yield Finding(Level.HINT, subject, reason)
    else:
        reasons = "; ".join(status.reasons) or "no reason given"
        yield Finding(Level.BAD, subject, f"{status.state.value}: {reasons}")


def _package_findings() -> Iterator[Finding]:
    missing = [name for name in REQUIRED if _version(name) is None]
    if missing:
        yield Finding(Level.BAD, "packages", f"missing: {', '.join(missing)}", "pip install segue")
    for extra, packages in EXTRAS.items():
        absent = missing_packages(extra)
        if absent:
            advice = f"to run it here: pip install 'segue[{extra}]'"
            yield Finding(Level.HINT, extra, f"cannot run on this machine without {', '.join(absent)}", advice)
        else:
            yield Finding(Level.GOOD, extra, ", ".join(f"{name} {_version(name)}" for name in packages))


def missing_packages(extra: str) -> list[str]:
    """Return the packages of a service that are not installed here."""
    return [name for name in EXTRAS.get(extra, ()) if _version(name) is None]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _mosquitto_finding() -> Finding:
    path = find_mosquitto()
    if path is None:
        advice = "a fleet of several machines needs a real broker: apt install mosquitto, then segue fleet init"
        return Finding(Level.HINT, "mosquitto", "not installed", advice)
    try:
        help_text = subprocess.run([path, "-h"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(Level.HINT, "mosquitto", f"{path} does not run: {error}")
    # Mosquitto prints its version in the first line of its help.
    return Finding(Level.GOOD, "mosquitto", help_text.splitlines()[0] if help_text else path)


def _disk_finding(data_dir: Path) -> Finding:
    folder = data_dir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:.1f} GB free at {folder}"
    if free < MIN_FREE_BYTES:
        return Finding(
            Level.BAD, "disk", text, "models and journals need space: free some, or choose another --data-dir"
        )
    return Finding(Level.GOOD, "disk", text)


def _service_findings(view: FleetView) -> Iterator[Finding]:
    by_role = {service.role: service for service in view.services.values() if service.state is State.ONLINE}
    needs = {
        "planner": "no stream is routed without it: segue planner",
        "collector": "outcomes are not stored without it: segue collector",
    }
    for role, need in needs.items():
        service = by_role.get(role)
        if service is None:
            yield Finding(Level.BAD, role, "is not there", need)
        else:
            yield _versioned(role, service.version)
    for service in view.services.values():
        if service.trouble:
            yield Finding(Level.BAD, service.name, service.trouble, _trouble_advice(service.trouble))


def _trouble_advice(trouble: str) -> str:
    return _RIGHTS_ADVICE if "access rules" in trouble else _DISK_ADVICE


def _planner_findings(view: FleetView) -> Iterator[Finding]:
    """Check that there is one planner, and that the devices follow it."""
    planners = [each for each in view.services.values() if each.role == "planner" and each.state is State.ONLINE]
    if len(planners) > 1:
        names = ", ".join(sorted(each.name for each in planners))
        yield Finding(
            Level.BAD, "planners", f"{len(planners)} are online ({names})", "a fleet has one: stop the others"
        )
    keys = sorted({each.public_key for each in planners if each.public_key is not None})
    if not keys:
        return
    yield Finding(Level.GOOD, "planner key", ", ".join(keys))
    for device in sorted(view.devices.values(), key=lambda each: each.name):
        followed = () if device.presence is None else device.presence.planner_keys
        if followed and not set(followed) & set(keys):
            text = f"follows planner key {', '.join(followed)} only"
            advice = f"if {keys[0]} is your planner's, run there: segue device trust {device.name} {keys[0]}"
            yield Finding(Level.BAD, f"device {device.name}", text, advice)


def _device_findings(device: DeviceView, view: FleetView, now_s: float) -> Iterator[Finding]:
    subject = f"device {device.name}"
    if device.presence is not None and device.presence.trouble:
        yield Finding(Level.BAD, subject, device.presence.trouble, _trouble_advice(device.presence.trouble))
    if not device.is_online:
        yield Finding(Level.BAD, subject, "its executor is not there", f"segue executor --device {device.name}")
        return
    yield _versioned(subject, "" if device.presence is None else device.presence.version)
    for text in refusal_texts(device, view.manifests):
        yield Finding(Level.HINT, subject, f"cannot run {text}", _REFUSAL_ADVICE)
    if device.telemetry is None and view.is_monitored(device.name):
        yield Finding(Level.HINT, subject, "its monitor sent nothing in this time", "listen longer: --listen-s 12")
        return
    if device.telemetry is None or device.telemetry_at_s is None:
        advice = f"segue monitor --device {device.name}; without it neither load nor links are known"
        yield Finding(Level.BAD, subject, "its monitor is not there", advice)
        return
    skew_s = device.telemetry.sent_at_s - device.telemetry_at_s
    if abs(skew_s) > MAX_CLOCK_SKEW_S:
        advice = (
            "set it, with chrony for example; latencies, deadlines and traces do not depend on it, but certificates "
            "and the times of events do"
        )
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
