"""Reading and checking of FLEET.toml."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from services.cli.support.config_files import read_toml
from services.cli.support.policy_checks import strategy_fault
from services.cli.support.request_files import request_files
from services.cli.testbed.fleet_description import IN_USE, Fleet, LinkDescription
from shared.exit_status import InputError

_ADAPTER: Final[TypeAdapter[Fleet]] = TypeAdapter(Fleet)


def read_fleet(path: Path) -> Fleet:
    """Return the fleet that a file describes, after checks of the file and of the files it names.

    Raises:
        InputError: with one line per fault, each with the path of its key.
    """
    fleet = parse_fleet(read_toml(path), origin=str(path))
    faults = list(_file_faults(fleet, path.parent))
    if faults:
        raise _refusal(str(path), faults)
    return fleet


def parse_fleet(document: Mapping[str, Any], *, origin: str) -> Fleet:
    """Return the fleet that a document describes, without checks of the files it names.

    Args:
        document: the decoded TOML document.
        origin: its name in errors.

    Raises:
        InputError: with one line per fault.
    """
    try:
        fleet = _ADAPTER.validate_python(document)
    except ValidationError as error:
        raise _refusal(origin, map(_fault, error.errors())) from error
    checks = (_name_faults, _metering_faults, _emulation_faults, _phase_faults)
    faults = [fault for check in checks for fault in check(fleet)]
    if faults:
        raise _refusal(origin, faults)
    return fleet


def image_files(fleet: Fleet, folder: Path) -> tuple[Path, ...]:
    """Return the files below `folder` that match the patterns, in order and without repetition."""
    return tuple(dict.fromkeys(file for pattern in fleet.stream.images for file in _matches(folder, pattern)))


def _matches(folder: Path, pattern: str) -> list[Path]:
    """Return the files that a pattern means: a file, a folder's pictures and tensors, or matches of wildcards.

    A part of the pattern that exists under its own name means itself, even if it contains `[`, `?` or `*`.
    """
    base, remaining = folder / Path(pattern).anchor, list(Path(pattern).parts)
    if Path(pattern).is_absolute():
        del remaining[0]
    while remaining and (base / remaining[0]).exists():
        base /= remaining.pop(0)
    if remaining:
        return sorted(file for file in base.glob("/".join(remaining)) if file.is_file())
    return request_files(base) if base.is_dir() else [base]


def _name_faults(fleet: Fleet) -> Iterator[str]:
    if IN_USE in fleet.devices:
        yield f"devices.{IN_USE}: this name is reserved for phases, where it means the device in use"
    if (fault := strategy_fault(fleet.policy)) is not None:
        yield f"policy.strategy: {fault}"
    for key, named in (("allow", fleet.policy.devices.allow or ()), ("deny", fleet.policy.devices.deny)):
        for device in named:
            if device not in fleet.devices:
                yield f"policy.devices.{key}: {device!r} is not among the devices ({', '.join(fleet.devices)})"
    if fleet.stream.source not in fleet.devices:
        yield f"stream.source: {fleet.stream.source!r} is not among the devices ({', '.join(fleet.devices)})"
    seen: set[tuple[str, str]] = set()
    for index, link in enumerate(fleet.links):
        yield from _link_faults(f"links.{index}", link, fleet)
        if link.pair in seen:
            yield f"links.{index}.between: {' and '.join(link.pair)} are linked already"
        seen.add(link.pair)


def _metering_faults(fleet: Fleet) -> Iterator[str]:
    for name, device in fleet.devices.items():
        if device.assumed_mbps is not None and not (device.metered or fleet.metered):
            yield f"devices.{name}.assumed_mbps: needs `metered = true`: the links of other devices are probed"


def _link_faults(key: str, link: LinkDescription, fleet: Fleet) -> Iterator[str]:
    for end in link.between:
        if end not in fleet.devices:
            yield f"{key}.between: {end!r} is not among the devices ({', '.join(fleet.devices)})"
    if link.between[0] == link.between[1]:
        yield f"{key}.between: a link joins two different devices"


def _emulation_faults(fleet: Fleet) -> Iterator[str]:
    if fleet.emulated:
        return
    reason = "needs `emulated = true`: real devices and links have their own speeds"
    if fleet.links:
        yield f"links: {reason}"
    for name, device in fleet.devices.items():
        if device.slowdown != 1:
            yield f"devices.{name}.slowdown: {reason}"
    for index, phase in enumerate(fleet.phases):
        if phase.load or phase.links:
            yield f"phases.{index}: {reason}"


def _phase_faults(fleet: Fleet) -> Iterator[str]:
    linked = {link.pair for link in fleet.links}
    names = [phase.name for phase in fleet.phases]
    for index, phase in enumerate(fleet.phases):
        key = f"phases.{index}"
        if names.index(phase.name) != index:
            yield f"{key}.name: {phase.name!r} is used twice"
        for number, link in enumerate(phase.links):
            if link.pair not in linked:
                yield f"{key}.links.{number}.between: {' and '.join(link.pair)} have no link that could change"
        for target in [*phase.load, *([phase.kill] if phase.kill else [])]:
            if target != IN_USE and target not in fleet.devices:
                yield f"{key}: {target!r} is neither a device nor `{IN_USE}`"


def _file_faults(fleet: Fleet, folder: Path) -> Iterator[str]:
    if not (folder / fleet.model.file).is_file():
        yield f"model.file: there is no file {folder / fleet.model.file}"
    if fleet.model.labels is not None and not (folder / fleet.model.labels).is_file():
        yield f"model.labels: there is no file {folder / fleet.model.labels}"
    if fleet.model.calibration_images is not None and not (folder / fleet.model.calibration_images).is_dir():
        yield f"model.calibration_images: there is no folder {folder / fleet.model.calibration_images}"
    for index, pattern in enumerate(fleet.stream.images):
        if not _matches(folder, pattern):
            yield f"stream.images.{index}: no file matches {folder / pattern}"


def _fault(fault: ErrorDetails) -> str:
    if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{_key(fault['loc'])}: unknown key"
    return f"{_key(fault['loc'])}: {fault['msg'].removeprefix('Value error, ')}"


def _key(location: Iterable[int | str]) -> str:
    return ".".join(str(part) for part in location) or "document"


def _refusal(origin: str, faults: Iterable[str]) -> InputError:
    return InputError("\n".join(f"{origin}: {fault}" for fault in faults))
