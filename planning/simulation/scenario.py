"""Changes during a run: loads and bandwidths, and devices and links that go and come back."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from planning.problem.problem import Problem, link_table
from planning.queueing.event_loop import RateChange
from planning.queueing.operations import Work
from planning.simulation.arrivals import Recorded


class UnknownPlaceError(LookupError):
    """A change names a device or a link that is not in the problem."""


@dataclass(frozen=True, slots=True)
class LoadChange:
    """A device's load factor from ``at_ms`` on.

    None means that the device is gone until a later change gives it a load factor.
    """

    at_ms: float
    device: str
    load_factor: float | None


@dataclass(frozen=True, slots=True)
class BandwidthChange:
    """A link's bandwidth from ``at_ms`` on. None: the link is gone until a later change gives it a bandwidth.

    A link that the problem lists in one direction only changes in both.
    """

    at_ms: float
    source: str
    target: str
    bandwidth_mbps: float | None


Change = LoadChange | BandwidthChange


@dataclass(frozen=True, slots=True)
class Scenario:
    """Conditions of a run: changes, and the recorded arrivals of streams, in ms."""

    changes: tuple[Change, ...] = ()
    arrivals: Mapping[str, Recorded] = field(default_factory=dict)


def rate_changes(problem: Problem, changes: Iterable[Change]) -> tuple[RateChange, ...]:
    """Return the changes of computing and sending rates, relative to the loads and bandwidths of ``problem``.

    Work is paused while its device, its link or its receiver is gone; nothing is lost. Changes of the same instant take
    effect in the order given. Latencies of links do not change.

    Raises:
        UnknownPlaceError: if a device or link is not in the problem.
    """
    state = _State(problem)
    ordered = sorted(changes, key=lambda change: change.at_ms)
    return tuple(rate for change in ordered for rate in state.apply(change))


class _State:
    """Present loads and bandwidths; None where the device or link is gone."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._links = link_table(problem.links)
        self._loads: dict[str, float | None] = {name: own.load_factor for name, own in problem.devices.items()}
        self._mbps: dict[tuple[str, str], float | None] = {
            ends: own.bandwidth_mbps for ends, own in self._links.items()
        }

    def apply(self, change: Change) -> Iterator[RateChange]:
        """Apply a change; yield the rates that follow from it."""
        match change:
            case LoadChange(at_ms, device, load_factor):
                if device not in self._loads:
                    raise UnknownPlaceError(f"there is no device {device}")
                was_gone = self._loads[device] is None
                self._loads[device] = load_factor
                # Durations of operations are those at the problem's load, so rates are relative to it.
                first = self._problem.devices[device].load_factor
                yield RateChange(at_ms, device, Work.COMPUTE, 0.0 if load_factor is None else first / load_factor)
                # A device that goes or comes back also pauses or resumes all transfers from and to it.
                if was_gone != (load_factor is None):
                    for ends in self._mbps:
                        if device in ends:
                            yield self._sending(at_ms, *ends)
            case BandwidthChange(at_ms, source, target, bandwidth_mbps):
                link = self._links.get((source, target))
                if link is None:
                    raise UnknownPlaceError(f"there is no link from {source} to {target}")
                for ends in ((source, target), (target, source)):
                    # The other direction may be another link, with a bandwidth of its own.
                    if self._links.get(ends) is link:
                        self._mbps[ends] = bandwidth_mbps
                        yield self._sending(at_ms, *ends)

    def _sending(self, at_ms: float, sender: str, receiver: str) -> RateChange:
        now = self._mbps[sender, receiver]
        gone = now is None or self._loads[sender] is None or self._loads[receiver] is None
        rate = 0.0 if now is None or gone else now / self._links[sender, receiver].bandwidth_mbps
        return RateChange(at_ms, sender, Work.SEND, rate, receiver)
