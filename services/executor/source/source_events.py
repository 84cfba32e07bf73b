"""What a source is told (events) and what it asks for (commands)."""

from dataclasses import dataclass

from shared.messages.alternatives import Alternatives
from shared.messages.devices import ComputeObservation, TransferObservation
from shared.messages.requests import JSON_CONTENT, ErrorCause
from shared.messages.streams import CommittedPlan, PlanRoute


@dataclass(frozen=True, slots=True)
class SourceLimits:
    """Bounds and intervals of a source.

    Attributes:
        max_waiting: accepted requests that wait; past it the intake stops.
        max_waiting_bytes: their payloads together.
        retry_limit: retries while no plan says otherwise.
        minimum_timeout_s: shortest wait for an outcome.
        unpredicted_timeout_s: the wait when neither a prediction nor a deadline is known.
        patience_s: how long a request may wait for a usable route before it fails.
        republish_interval_s: first pause before an unconfirmed outcome is announced again.
        republish_ceiling_s: longest such pause.
        max_outcomes: outcomes kept for announcing and for repeated requests.
        max_confirmed_outcomes: confirmed ones among them.
        max_outcome_bytes: their size together.
        outcome_age_s: how long an outcome is kept.
    """

    max_waiting: int = 256
    max_waiting_bytes: int = 256 * 1024 * 1024
    retry_limit: int = 3
    minimum_timeout_s: float = 1.0
    unpredicted_timeout_s: float = 10.0
    patience_s: float = 300.0
    republish_interval_s: float = 5.0
    republish_ceiling_s: float = 120.0
    max_outcomes: int = 10_000
    max_confirmed_outcomes: int = 1_000
    max_outcome_bytes: int = 256 * 1024 * 1024
    outcome_age_s: float = 86_400.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request without its payload.

    Attributes:
        request_id: identifies it for ever.
        size_bytes: of the payload.
        accepted_at_s: wall clock.
        accept: content type wanted for the result.
        response_topic: whole topic, with root, on which the requester wants the result too.
        correlation_data: given back with the result.
        traceparent: W3C trace context.
    """

    request_id: str
    size_bytes: int
    accepted_at_s: float
    accept: str = JSON_CONTENT
    response_topic: str | None = None
    correlation_data: bytes | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class RestoredRequest:
    """A request that a former life of this source accepted."""

    request: Request
    age_s: float
    attempt: int


@dataclass(frozen=True, slots=True)
class RestoredOutcome:
    """An outcome that the journal keeps."""

    request_id: str
    size_bytes: int
    age_s: float
    confirmed: bool


# Events


@dataclass(frozen=True, slots=True)
class RequestArrived:
    """A request came in; `token` names what has to be acknowledged."""

    request: Request
    token: int


@dataclass(frozen=True, slots=True)
class PlanCommitted:
    """A plan is in force."""

    plan: CommittedPlan


@dataclass(frozen=True, slots=True)
class PlanRevoked:
    """No plan is in force any more: requests wait for the next."""


@dataclass(frozen=True, slots=True)
class OutcomeSeen:
    """An outcome was published, by whoever."""

    request_id: str
    attempt: int
    ok: bool
    payload: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Undispatchable:
    """The request cannot be dispatched: its bytes are gone, or the route does not take it."""

    request_id: str
    text: str


@dataclass(frozen=True, slots=True)
class AttemptRefused:
    """A device of the route could not use what came to it of this attempt."""

    request_id: str
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class DeviceSeen:
    """A device is online with this `boot_id`, or offline (none)."""

    device: str
    boot_id: str | None


@dataclass(frozen=True, slots=True)
class BusChanged:
    """The connection to the broker came back or was lost."""

    online: bool


@dataclass(frozen=True, slots=True)
class CollectorsChanged:
    """Some collector is online, or none."""

    online: bool


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A collector has stored these outcomes."""

    request_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StreamWithdrawn:
    """The stream is over: what waits fails, what is under way may end."""


@dataclass(frozen=True, slots=True)
class JournalRestored:
    """What the journal held at the start, in the order of arrival."""

    requests: tuple[RestoredRequest, ...]
    outcomes: tuple[RestoredOutcome, ...]


@dataclass(frozen=True, slots=True)
class AlternativesKnown:
    """The planner says what is next beyond which thresholds."""

    alternatives: Alternatives


@dataclass(frozen=True, slots=True)
class Observed:
    """This device has computed a segment, or a transfer of it has arrived or is overdue."""

    observation: TransferObservation | ComputeObservation


@dataclass(frozen=True, slots=True)
class RetryTick:
    """Time has passed."""


Event = (
    RequestArrived
    | PlanCommitted
    | PlanRevoked
    | OutcomeSeen
    | Undispatchable
    | AttemptRefused
    | DeviceSeen
    | BusChanged
    | CollectorsChanged
    | Confirmed
    | StreamWithdrawn
    | JournalRestored
    | AlternativesKnown
    | Observed
    | RetryTick
)


# Commands


@dataclass(frozen=True, slots=True)
class Accept:
    """Write the request and its payload to the journal, then acknowledge `token`."""

    request: Request
    token: int


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The request needs no journal: acknowledge `token`."""

    token: int


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Note the attempt, then send the request to the first stage of `route`."""

    request: Request
    attempt: int
    plan: CommittedPlan
    route: PlanRoute


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """Write the outcome to the journal and drop the request's payload."""

    request_id: str
    payload: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Fail:
    """Make the request's error outcome, write it to the journal, and publish it."""

    request: Request
    cause: ErrorCause
    text: str
    attempt: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Republish:
    """Publish a known outcome again, also to the repeated request's own response topic."""

    request_id: str
    response_topic: str | None = None
    correlation_data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Confirm:
    """Mark outcomes as confirmed in the journal."""

    request_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeleteOutcomes:
    """Remove outcomes from the journal."""

    request_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReportRetry:
    """Tell people that a request is tried again, and why."""

    request_id: str
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReportSwitch:
    """Tell people that the source takes another route by itself, and why."""

    text: str


Command = (
    Accept
    | Acknowledge
    | Dispatch
    | StoreOutcome
    | Fail
    | Republish
    | Confirm
    | DeleteOutcomes
    | ReportRetry
    | ReportSwitch
)
