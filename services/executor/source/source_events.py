"""Events that a stream's source reacts to, and the commands with which it answers."""

from dataclasses import dataclass

from shared.messages.alternatives import Alternatives
from shared.messages.devices import ComputeObservation, TransferObservation
from shared.messages.requests import JSON_CONTENT, ErrorCause, StageTrace
from shared.messages.streams import CommittedPlan, PlanRoute


@dataclass(frozen=True, slots=True)
class SourceLimits:
    """Bounds and intervals of a source.

    Attributes:
        max_waiting: largest number of waiting requests; at this number the intake stops.
        max_waiting_bytes: largest total payload of the waiting requests.
        retry_limit: retries per request while no plan gives a limit.
        minimum_timeout_s: shortest wait for an outcome.
        unpredicted_timeout_s: wait for an outcome when the plan has neither a prediction nor a deadline.
        patience_s: longest wait of a request for a usable route, after which it fails.
        republish_interval_s: first pause before an unconfirmed outcome is published again.
        republish_ceiling_s: longest such pause.
        max_outcomes: largest number of outcomes kept for republishing and for repeated requests.
        max_confirmed_outcomes: largest number of confirmed outcomes among them.
        max_outcome_bytes: largest total size of the outcomes.
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
        request_id: identifies the request permanently; a repeated request has the same id.
        size_bytes: size of the payload.
        accepted_at_s: wall clock.
        accept: content type of the result.
        response_topic: complete topic, root included, on which the requester expects the result too.
        correlation_data: returned unchanged with the result.
        traceparent: W3C trace context.
        lifetime_s: time after its acceptance within which it must be dispatched; None for no bound.
    """

    request_id: str
    size_bytes: int
    accepted_at_s: float
    accept: str = JSON_CONTENT
    response_topic: str | None = None
    correlation_data: bytes | None = None
    traceparent: str | None = None
    lifetime_s: float | None = None


@dataclass(frozen=True, slots=True)
class RestoredRequest:
    """An unfinished request that the source accepted before it was restarted.

    Attributes:
        request: the request as accepted.
        age_s: time since its acceptance.
        attempt: number of its attempts.
        used_retries: retries that were used up at the last of them.
    """

    request: Request
    age_s: float
    attempt: int
    used_retries: int = 0


@dataclass(frozen=True, slots=True)
class RestoredOutcome:
    """An outcome that the journal holds.

    Attributes:
        request_id: id of its request.
        size_bytes: size of its payload.
        age_s: time since it was stored.
        confirmed: whether a collector has stored it.
        unpublished: its request, if the broker has not acknowledged the outcome; None if it has.
    """

    request_id: str
    size_bytes: int
    age_s: float
    confirmed: bool
    unpublished: Request | None = None


# Events


@dataclass(frozen=True, slots=True)
class RequestArrived:
    """A request arrived; `token` identifies the delivery to acknowledge.

    A request with a `fault` ends at once, as one that cannot be computed.
    """

    request: Request
    token: int
    fault: str = ""


@dataclass(frozen=True, slots=True)
class PlanCommitted:
    """A plan is in force."""

    plan: CommittedPlan


@dataclass(frozen=True, slots=True)
class PlanRevoked:
    """No plan is in force; requests wait for the next."""


@dataclass(frozen=True, slots=True)
class OutcomeSeen:
    """An attempt has ended on any device of its route, this one included.

    `payload` has the form of `content_type`: a message, or the frame of an outcome with large outputs.
    `is_published` is true of an outcome that a device of an earlier release has published itself.
    """

    request_id: str
    attempt: int
    ok: bool
    payload: bytes | memoryview
    content_type: str
    trace: tuple[StageTrace, ...] = ()
    is_published: bool = False


@dataclass(frozen=True, slots=True)
class OutputsArriving:
    """Some of the large outputs of an attempt have arrived here, so it is under way."""

    request_id: str


@dataclass(frozen=True, slots=True)
class OutcomesPublished:
    """The broker has acknowledged these outcomes."""

    request_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Undispatchable:
    """The request cannot be sent: its payload is missing."""

    request_id: str
    text: str


@dataclass(frozen=True, slots=True)
class AttemptRefused:
    """A device of the route could not decode a feature map of this attempt, or had no room for its rows."""

    request_id: str
    attempt: int
    reason: str
    has_no_room: bool = False


@dataclass(frozen=True, slots=True)
class DeviceSeen:
    """A device is online with this `boot_id`, or offline (None)."""

    device: str
    boot_id: str | None


@dataclass(frozen=True, slots=True)
class BusChanged:
    """The broker can be reached and answers, or not."""

    online: bool


@dataclass(frozen=True, slots=True)
class TimeSkipped:
    """This process did not run, or waited for its disk: outcomes that came meanwhile are not handled yet."""


@dataclass(frozen=True, slots=True)
class CollectorsChanged:
    """At least one collector is online, or none is."""

    online: bool


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A collector has stored these outcomes."""

    request_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StreamWithdrawn:
    """The stream is withdrawn: waiting requests fail, those in flight may finish."""


@dataclass(frozen=True, slots=True)
class JournalRestored:
    """Content of the journal at the start, in the order of arrival."""

    requests: tuple[RestoredRequest, ...]
    outcomes: tuple[RestoredOutcome, ...]


@dataclass(frozen=True, slots=True)
class AlternativesKnown:
    """The planner published the thresholds of a plan and the route beyond each."""

    alternatives: Alternatives


@dataclass(frozen=True, slots=True)
class Observed:
    """This device has computed a segment, or one of its transfers has arrived or is overdue."""

    observation: TransferObservation | ComputeObservation


@dataclass(frozen=True, slots=True)
class RetryTick:
    """Time has passed; sent ten times a second."""


# Events of single requests, and time.
RequestEvent = (
    RequestArrived
    | OutputsArriving
    | OutcomeSeen
    | OutcomesPublished
    | Undispatchable
    | AttemptRefused
    | Confirmed
    | JournalRestored
    | RetryTick
)
# Events that change the circumstances of all requests: plan, devices, broker, collectors, measurements.
ContextEvent = (
    PlanCommitted
    | PlanRevoked
    | StreamWithdrawn
    | DeviceSeen
    | BusChanged
    | TimeSkipped
    | CollectorsChanged
    | AlternativesKnown
    | Observed
)
SourceEvent = RequestEvent | ContextEvent


# Commands


@dataclass(frozen=True, slots=True)
class Accept:
    """Write the request and its payload to the journal, then acknowledge `token`."""

    request: Request
    token: int


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Acknowledge `token`; the request is in the journal already."""

    token: int


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Write the number of the attempt to the journal, and send the request to the first stage of `route`.

    A first attempt may be sent while the number is written.

    The request was accepted at `accepted_s` (monotonic seconds). Of its retries `used_retries` are used up.
    """

    request: Request
    attempt: int
    plan: CommittedPlan
    route: PlanRoute
    accepted_s: float
    used_retries: int = 0


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """Write the outcome to the journal, then publish it unless that has been done, and drop the request's payload."""

    request: Request
    payload: bytes | memoryview
    content_type: str
    is_published: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """Make the request's error outcome, write it to the journal, and publish it.

    The request was accepted `age_s` ago.
    """

    request: Request
    cause: ErrorCause
    text: str
    attempt: int
    epoch: int
    age_s: float


@dataclass(frozen=True, slots=True)
class Republish:
    """Publish a stored outcome again, also on the response topic of its request or of a repeated one.

    Large outputs are sent again only `with_outputs`: a collector does not take them.
    """

    request_id: str
    response_topic: str | None = None
    correlation_data: bytes | None = None
    with_outputs: bool = True


@dataclass(frozen=True, slots=True)
class NotePublished:
    """Note in the journal that the broker has these outcomes."""

    request_ids: tuple[str, ...]


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
    """Publish an event: the request is tried again, with the reason."""

    request_id: str
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReportSwitch:
    """Publish an event: the source has switched routes by itself, with the reason."""

    text: str


SourceCommand = (
    Accept
    | Acknowledge
    | Dispatch
    | StoreOutcome
    | Fail
    | Republish
    | NotePublished
    | Confirm
    | DeleteOutcomes
    | ReportRetry
    | ReportSwitch
)
