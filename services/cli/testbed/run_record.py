"""What is written down while a fleet runs: the ground on which the summary stands."""

from dataclasses import dataclass, field

from services.cli.testbed.baselines import Ground
from services.cli.testbed.conditions import Conditions
from shared.messages.events import Reroute
from shared.messages.requests import Outcome


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request as the application saw it; wall clock.

    Attributes:
        request_id: its id.
        submitted_at_s: when it was given to the client library.
        finished_at_s: when its outcome was there, or when the wait for it was given up.
        outcome: None if it is lost.
        mismatch: its outputs differ from the whole model's.
    """

    request_id: str
    submitted_at_s: float
    finished_at_s: float
    outcome: Outcome | None
    mismatch: bool = False


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """A phase as it was; wall clock."""

    name: str
    condition: str
    conditions: Conditions
    started_at_s: float
    ended_at_s: float
    expect_reroute: bool = False


@dataclass(frozen=True, slots=True)
class CollectorCounts:
    """What the collector knows of the run's requests.

    Attributes:
        stored: requests of which it has the outcome.
        missing: requests with an outcome that it does not have.
        computed_twice: requests that were retried although the first attempt came through; it keeps one outcome.
        contradicted: requests of which it saw a result and an error.
    """

    stored: int
    missing: int = 0
    computed_twice: int = 0
    contradicted: int = 0


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A whole run.

    Attributes:
        phases: in order.
        requests: every one that was submitted, in order.
        reroutes: as the planner's events told them, in order.
        ground: None if the fleet never came to run.
        collector: None if there was no asking it.
    """

    phases: tuple[PhaseRecord, ...]
    requests: tuple[RequestRecord, ...]
    reroutes: tuple[Reroute, ...] = ()
    ground: Ground | None = None
    collector: CollectorCounts | None = None
    notes: tuple[str, ...] = field(default=())
