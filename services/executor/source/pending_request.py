"""An accepted request as its source sees it until it has an outcome."""

from dataclasses import dataclass
from enum import Enum, auto

from services.executor.source.source_events import Request
from shared.messages.streams import PlanRoute


class RequestPhase(Enum):
    """Where an accepted request is."""

    WAITING = auto()
    IN_FLIGHT = auto()


@dataclass(slots=True)
class PendingRequest:
    """A request that is not answered yet.

    Attributes:
        request: what was accepted.
        accepted_s: when; monotonic seconds, as all times here.
        phase: where it is.
        attempt: attempts made, those before a restart included.
        waiting_since_s: since when it waits.
        dispatched_s: when the newest attempt went off.
        timeout_s: how long an outcome may take.
        due_s: when the newest attempt is given up.
        epoch: of the newest attempt.
        route: of the newest attempt while it is under way.
        asked_again: the newest repetition: whoever sent it may have missed an outcome that is published but not yet
            seen here.
    """

    request: Request
    accepted_s: float
    phase: RequestPhase = RequestPhase.WAITING
    attempt: int = 0
    waiting_since_s: float = 0.0
    dispatched_s: float = 0.0
    timeout_s: float = 0.0
    due_s: float = 0.0
    epoch: int = 0
    route: PlanRoute | None = None
    asked_again: Request | None = None
