"""Scenario files: changes during a run and recorded arrivals, read from JSON."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from planning.files.json_document import (
    Fault,
    InvalidDocumentError,
    faults_of,
    file_schema,
    json_path,
    json_values,
    without_remarks,
)
from planning.problem.problem import Problem, link_table
from planning.simulation.arrivals import Recorded
from planning.simulation.scenario import BandwidthChange, Change, LoadChange, Scenario
from shared.fields import DOCUMENT, Flag, Name, NonNegative, Positive


@dataclass(frozen=True, config=DOCUMENT)
class ChangeDocument:
    """A change of a device's load_factor, or of a link's bandwidth_mbps. ``gone`` removes the device or link.

    A device or link comes back with the next change that gives it a load factor or a bandwidth.
    """

    at_ms: Annotated[NonNegative, Field(description="Time of the change, from the start of the run.")]
    device: Annotated[Name | None, Field(description="The device whose load changes.")] = None
    load_factor: Annotated[
        Positive | None, Field(description="Slowdown of the device against idle, from this time on.")
    ] = None
    source: Annotated[Name | None, Field(alias="from", description="Sender of the link that changes.")] = None
    target: Annotated[Name | None, Field(alias="to", description="Receiver of the link.")] = None
    bandwidth_mbps: Annotated[
        Positive | None,
        Field(
            description="Bandwidth of the link from this time on; both directions if the problem lists the link once."
        ),
    ] = None
    gone: Annotated[Flag, Field(description="The device or link is gone. Work on it is paused.")] = False


@dataclass(frozen=True, config=DOCUMENT)
class ScenarioDocument:
    """Changes and arrivals during a run of a plan, in milliseconds from its start."""

    changes: Annotated[tuple[ChangeDocument, ...], Field(max_length=100_000)] = ()
    arrivals_ms: Annotated[
        dict[Name, tuple[NonNegative, ...]], Field(description="Recorded arrivals per stream, ascending.")
    ] = Field(default_factory=dict)


_ADAPTER: TypeAdapter[ScenarioDocument] = TypeAdapter(ScenarioDocument)


def scenario_schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file."""
    return file_schema(_ADAPTER)


def read_scenario(document: str | bytes, problem: Problem) -> Scenario:
    """Read a scenario for ``problem`` from its JSON text.

    Raises:
        InvalidDocumentError: with every fault; a device, link or stream that the problem does not have is one.
    """
    values = json_values(document)
    if not isinstance(values, dict):
        raise InvalidDocumentError((Fault("$", "expected an object with changes, arrivals_ms or both"),))
    try:
        content = _ADAPTER.validate_python(without_remarks(values))
    except ValidationError as exc:
        raise InvalidDocumentError(faults_of(exc)) from exc
    faults = tuple(_faults(content, problem))
    if faults:
        raise InvalidDocumentError(faults)
    arrivals = {name: Recorded(times_ms) for name, times_ms in content.arrivals_ms.items()}
    return Scenario(tuple(map(_change, content.changes)), arrivals)


def _change(document: ChangeDocument) -> Change:
    if document.device is not None:
        return LoadChange(document.at_ms, document.device, document.load_factor)
    return BandwidthChange(document.at_ms, document.source or "", document.target or "", document.bandwidth_mbps)


def _faults(document: ScenarioDocument, problem: Problem) -> Iterator[Fault]:
    links = link_table(problem.links)
    for index, change in enumerate(document.changes):
        path = f"$.changes[{index}]"
        of_device = (change.device, change.load_factor)
        of_link = (change.source, change.target, change.bandwidth_mbps)
        if change.device is not None and of_link == (None, None, None):
            if change.device not in problem.devices:
                yield Fault(f"{path}.device", f"there is no device {change.device}")
            if (change.load_factor is None) != change.gone:
                yield Fault(path, "give the device's load_factor, or gone: true, and not both")
        elif change.source is not None and change.target is not None and of_device == (None, None):
            if (change.source, change.target) not in links:
                yield Fault(path, f"there is no link from {change.source} to {change.target}")
            if (change.bandwidth_mbps is None) != change.gone:
                yield Fault(path, "give the link's bandwidth_mbps, or gone: true, and not both")
        else:
            yield Fault(path, "give either device with load_factor, or from and to with bandwidth_mbps")
    streams = {stream.name for stream in problem.streams}
    for name, times_ms in document.arrivals_ms.items():
        path = json_path(("arrivals_ms", name))
        if name not in streams:
            yield Fault(path, f"there is no stream {name}")
        if any(later < earlier for earlier, later in pairwise(times_ms)):
            yield Fault(path, "the times must ascend")
