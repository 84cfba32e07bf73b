"""Scenarios of `segue simulate` from a file and from the option --change."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from planning.files.json_document import InvalidDocumentError, faults_of
from planning.files.scenario_file import ChangeDocument, read_scenario
from planning.problem.problem import Problem, link_table
from planning.simulation.scenario import BandwidthChange, Change, LoadChange, Scenario
from services.cli.support.problem_files import invalid_file, read_document, wrong_input

_SHAPE = "MS:DEVICE=LOAD_FACTOR or MS:FROM,TO=MBPS, or gone for the number"


def load_scenario(problem: Problem, path: Path | None, entries: Sequence[str]) -> Scenario:
    """Return the scenario of a file, followed by the changes of the command line.

    Args:
        problem: names the devices and links that can change.
        path: the scenario file; None for an empty scenario.
        entries: values of --change.

    Raises:
        typer.Exit: with status 2, after one line per fault on standard error.
    """
    scenario = Scenario()
    if path is not None:
        try:
            scenario = read_scenario(read_document(path), problem)
        except InvalidDocumentError as exc:
            raise invalid_file(path, exc.faults) from exc
    changes = tuple(parse_change(problem, entry) for entry in entries)
    return Scenario((*scenario.changes, *changes), scenario.arrivals)


def parse_change(problem: Problem, entry: str) -> Change:
    """Return the change that MS:DEVICE=LOAD_FACTOR or MS:FROM,TO=MBPS describes; the number may be `gone`.

    Raises:
        typer.Exit: with status 2, after a line on standard error.
    """
    time_ms, _, rest = entry.partition(":")
    place, _, value = rest.rpartition("=")
    try:
        at_ms, number = float(time_ms), None if value == "gone" else float(value)
    except ValueError as exc:
        raise wrong_input(f"--change {entry}: expected {_SHAPE}") from exc
    links = {f"{sender},{receiver}": (sender, receiver) for sender, receiver in link_table(problem.links)}
    try:
        # The document of a scenario file checks the ranges, so that both forms accept the same numbers.
        if place in problem.devices:
            ChangeDocument(at_ms=at_ms, device=place, load_factor=number, gone=number is None)
            return LoadChange(at_ms, place, number)
        if place in links:
            sender, receiver = links[place]
            ChangeDocument(at_ms=at_ms, source=sender, target=receiver, bandwidth_mbps=number, gone=number is None)
            return BandwidthChange(at_ms, sender, receiver, number)
    except ValidationError as exc:
        raise wrong_input(*(f"--change {entry}: {fault.message}" for fault in faults_of(exc))) from exc
    raise wrong_input(f"--change {entry}: {place!r} is no device and no link (FROM,TO) of the problem")
