"""One archive for a bug report: versions, settings, the fleet's state, findings, last records and logs, no secrets.

Each member is made of fields that are known to be harmless. Requests, results and labels are left out. Every text then
passes through a `SecretScrubber`, for what logs and messages may hold.
"""

import io
import json
import os
import platform
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

from services.cli.render.fleet_view import DeviceView, FleetView, StreamView
from services.cli.support.health_checks import Finding
from services.cli.support.retained_messages import RetainedMessages
from services.cli.support.secret_scrubber import REMOVED, SecretScrubber
from services.collector.config import DATABASE
from services.collector.errors import NoRecords
from services.collector.query import CollectorRecords
from services.collector.query_results import MeasuredReroute
from shared.bus.settings import BusSettings
from shared.control_groups import read_group_limits
from shared.enrolment import Enrolment
from shared.messages.base import Message
from shared.secret_files import write_secret
from shared.service_runtime import segue_version

_FOLDER: Final = "segue-report"
_LOG_LINES: Final = 5_000
_LOG_BYTES: Final = 4 * 1024 * 1024
_RECORDS: Final = 500
_LISTED_FILES: Final = 2_000
_TIMEOUT_S: Final = 20.0
_NOT_SHOWN: Final = {"top", "outputs", "transfer"}
_README: Final = """\
A report of `segue doctor --bundle`. Look through it before you send it.

findings.json   what the doctor found
versions.json   versions of Segue, Python, packages and the system; limits of this process
settings.json   address and account of the broker, environment variables of Segue; without passwords
fleet.json      devices, services, models and streams as their messages describe them
retained.json   topics and sizes of what the broker has retained
records.json    last traces, reroutes and events of a collector on this machine
files.json      names, sizes and modes of the files of services on this machine
logs/           last lines of the services of systemd, and of files that were named with --log

Requests, results, labels, passwords and keys are left out. What looks like a secret is replaced by [removed].
"""


def report_members(
    findings: Iterable[Finding],
    *,
    settings: BusSettings | None,
    account: Enrolment | None,
    view: FleetView | None,
    retained: RetainedMessages | None,
    data_dir: Path,
    logs: Sequence[Path],
) -> dict[str, Any]:
    """Return the members of the archive by name: texts and JSON values, before secrets are removed. It blocks.

    Args:
        findings: of the doctor.
        settings: of the connection to the broker; None without.
        account: of the connection; None for a plain address.
        view: state of the fleet; None if the broker is out of reach.
        retained: what the broker has retained; None if it is out of reach.
        data_dir: data folder of the services of this machine.
        logs: files whose last lines belong to it.
    """
    members: dict[str, Any] = {
        "README.txt": _README,
        "findings.json": [asdict(finding) for finding in findings],
        "versions.json": _versions(),
        "settings.json": _settings(settings, account, os.environ),
        "files.json": list(_files(data_dir)),
        "records.json": _records(data_dir / "collector"),
    }
    if view is not None:
        members["fleet.json"] = _fleet(view)
    if retained is not None:
        members["retained.json"] = {
            topic: {"bytes": len(received.payload)} for topic, received in sorted(retained.messages.items())
        }
    return {**members, **dict(_log_members(logs))}


def write_bundle(path: Path, members: Mapping[str, Any], scrubber: SecretScrubber) -> int:
    """Write the archive, a tar file with gzip, readable by this user only; return its size.

    Raises:
        OSError: it cannot be written.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            data = _bytes(content, scrubber)
            member = tarfile.TarInfo(f"{_FOLDER}/{scrubber.scrub(name)}")
            member.size, member.mode = len(data), 0o600
            archive.addfile(member, io.BytesIO(data))
    write_secret(path, buffer.getvalue())
    return path.stat().st_size


def _bytes(content: Any, scrubber: SecretScrubber) -> bytes:
    if isinstance(content, str):
        return scrubber.scrub(content).encode(errors="replace")
    # Through JSON first, so that every text in it is met as a text.
    document = scrubber.scrub_document(json.loads(json.dumps(content, default=str)))
    return f"{json.dumps(document, indent=1)}\n".encode(errors="replace")


def _versions() -> dict[str, Any]:
    return {
        "segue": segue_version(),
        "python": sys.version,
        "system": platform.platform(),
        "release": _read(Path("/etc/os-release")),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "limits": asdict(read_group_limits()),
        "packages": {name: each.version for each in distributions() if isinstance(name := each.metadata["Name"], str)},
    }


def _settings(
    settings: BusSettings | None, account: Enrolment | None, environment: Mapping[str, str]
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "environment": {
            # Their values may be anything: an address with a password, too.
            name: value if name in _SHOWN_VARIABLES else REMOVED
            for name, value in sorted(environment.items())
            if name.startswith("SEGUE_")
        }
    }
    if settings is not None:
        document["broker"] = {
            "address": settings.address,
            "tls": settings.tls,
            "tls_insecure": settings.tls_insecure,
            "root": settings.root,
        }
    if account is not None:
        fields = {"account", "role", "host", "port", "root", "planner_keys"}
        document["account"] = account.model_dump(mode="json", include=fields)
    return document


# Variables of options whose values are numbers, names and switches.
_SHOWN_VARIABLES: Final = frozenset(
    f"SEGUE_{name}"
    for name in (
        *("ASSUMED_MBPS", "CACHE_MIB", "CONNECT_TIMEOUT_S", "DATA_DIR", "DEVICE", "DIRECT_FOLDER", "DIRECT_HOST"),
        *("DIRECT_PORT", "EMULATED", "FLEET", "HEARTBEAT_S", "INSECURE", "LANE_KIB", "LOG_LEVEL", "MEMORY_MIB"),
        *("METERED", "METRICS_HOST", "METRICS_PORT", "NAME", "POWER_ACTIVE_W", "POWER_IDLE_W", "POWER_RX_W"),
        *("POWER_TX_W", "PROVIDER", "SEED", "SHADOW_SHARE", "THREADS", "TIME_BUDGET_S", "TRANSPORT"),
        "WATCH_REQUESTS",
    )
)


def _fleet(view: FleetView) -> dict[str, Any]:
    return {
        "services": {name: _dumped(service) for name, service in sorted(view.services.items())},
        "devices": {name: _device(device) for name, device in sorted(view.devices.items())},
        # Labels and blocks are the user's model.
        "models": {
            model: manifest.model_dump(mode="json", include={"name", "model", "file_id", "size_bytes", "provider"})
            for model, manifest in sorted(view.manifests.items())
        },
        "streams": {name: _stream(stream) for name, stream in sorted(view.streams.items())},
        "events": [_dumped(event) for event in view.events],
        "undecodable": view.undecodable,
    }


def _device(device: DeviceView) -> dict[str, Any]:
    presence = device.presence
    return {
        # The token lets a process connect to the device.
        "presence": None if presence is None else presence.model_dump(mode="json", exclude={"direct": {"token"}}),
        "telemetry": _dumped(device.telemetry),
        "links": _dumped(device.links),
        "profiles": {model: _dumped(profile) for model, profile in sorted(device.profiles.items())},
    }


def _stream(stream: StreamView) -> dict[str, Any]:
    return {
        "declaration": _dumped(stream.declaration),
        "plan": _dumped(stream.plan),
        "policy": None if stream.policy is None else bytes(stream.policy).decode(errors="replace"),
        "status": _dumped(stream.status),
        "usage": _dumped(stream.usage),
        "results": stream.results,
        "errors": stream.errors,
        "last": None if stream.last is None else stream.last.model_dump(mode="json", exclude=_NOT_SHOWN),
        "latencies_ms": list(stream.latencies_ms),
    }


def _dumped(message: Message | None) -> Any:
    return None if message is None else message.model_dump(mode="json")


def _records(folder: Path) -> dict[str, Any]:
    try:
        with CollectorRecords.open(folder / DATABASE) as records:
            return {
                "counts": asdict(records.counts()),
                "streams": {name: asdict(records.counts(name)) for name in records.streams()},
                "events": [asdict(event) for event in records.events(limit=_RECORDS)],
                "reroutes": [_reroute(each) for each in records.reroutes(limit=_RECORDS)],
                "stages": [asdict(stage) for stage in records.stages(limit=_RECORDS)],
                "services": [asdict(service) for service in records.services()],
            }
    except NoRecords as error:
        return {"none": str(error)}


def _reroute(measured: MeasuredReroute) -> dict[str, Any]:
    return {**asdict(measured), "reroute": measured.reroute.model_dump(mode="json")}


def _files(folder: Path) -> Iterator[dict[str, Any]]:
    for count, path in enumerate(sorted(folder.rglob("*"))):
        if count == _LISTED_FILES:
            return
        try:
            status = path.lstat()
        except OSError:
            continue
        yield {"path": str(path), "bytes": status.st_size, "mode": oct(status.st_mode), "user": status.st_uid}


def _log_members(logs: Iterable[Path]) -> Iterator[tuple[str, str]]:
    journal = _output("journalctl", "--no-pager", "--quiet", "-n", str(_LOG_LINES), "-u", "segue-*")
    if journal:
        yield "logs/journal.log", journal
    for number, path in enumerate(logs, start=1):
        yield f"logs/{number}-{path.name}", _read(path)


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout[-_LOG_BYTES:].decode(errors="replace")


def _read(path: Path) -> str:
    """Return the end of a file, from the begin of a line; what went wrong if it cannot be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LOG_BYTES))
            data = file.read()
    except OSError as error:
        return f"{error.strerror}\n"
    return (data if size <= _LOG_BYTES else data.partition(b"\n")[2]).decode(errors="replace")
