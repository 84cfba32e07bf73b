"""Accepted requests of a stream that have no outcome yet, and the timeouts of their attempts."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from services.executor.source.device_presence import stage_devices
from services.executor.source.source_events import Request, RestoredRequest, SourceLimits
from shared.messages.streams import CommittedPlan, PlanRoute

# Weight of the newest sample in the exponentially smoothed latency and size.
_SMOOTHING = 0.3
# An attempt is given up after this multiple of its expected latency.
_TIMEOUT_FACTOR = 4.0
_MAX_TIMEOUT_S = 120.0
# Shortest timeout of the last of several attempts. Until the fleet has found out that a device is gone whose cable was
# pulled, which takes 10 to 20 s, retries follow the route to it.
LAST_TIMEOUT_S = 20.0
_MAX_FORGIVEN = 3
# Doublings of the timeout; 2^10 times the minimum of one second is beyond `_MAX_TIMEOUT_S` already.
_MAX_DOUBLINGS = 10


class RequestPhase(Enum):
    """Phase of a request at its source."""

    WAITING = auto()
    """Accepted, not dispatched, or to be tried again."""
    IN_FLIGHT = auto()
    """Dispatched; its outcome is awaited until the attempt's timeout."""
    FINISHED = auto()
    """Has its outcome, which is remembered."""


@dataclass(eq=False, slots=True)
class PendingRequest:
    """A request without an outcome. All times are monotonic seconds; only `PendingRequests` changes the phase.

    Attributes:
        request: the request as accepted.
        accepted_s: when it was accepted.
        phase: WAITING or IN_FLIGHT.
        attempt: number of attempts, those before a restart included.
        interrupted: retries that were used up when this process was started again, its end included.
        failures: attempts that were given up since then, without those before the broker was away.
        forgiven: how often such attempts were left out.
        unanswered: attempts among them whose timeout has passed, by device of their routes.
        waiting_since_s: start of the current wait for a usable route.
        dispatched_s: start of the newest attempt.
        timeout_s: timeout of the newest attempt.
        due_s: when the newest attempt is given up.
        usual_due_s: the same, were it not the last attempt.
        epoch: plan epoch of the newest attempt.
        route: route of the newest attempt; None while the request waits.
        repetition: newest repeated delivery of the request. Its sender may have missed an outcome that is published
            but has not arrived here yet.
    """

    request: Request
    accepted_s: float
    phase: RequestPhase = RequestPhase.WAITING
    attempt: int = 0
    interrupted: int = 0
    failures: int = 0
    forgiven: int = 0
    unanswered: Counter[str] = field(default_factory=Counter)
    waiting_since_s: float = 0.0
    dispatched_s: float = 0.0
    timeout_s: float = 0.0
    due_s: float = 0.0
    usual_due_s: float = 0.0
    epoch: int = 0
    route: PlanRoute | None = None
    repetition: Request | None = None

    @property
    def request_id(self) -> str:
        """The id of the request."""
        return self.request.request_id

    def outputs_arriving(self, now_s: float) -> None:
        """Begin the timeout of the newest attempt again: no plan predicts the time of a large result on its way."""
        self.due_s = max(self.due_s, now_s + self.timeout_s)

    @property
    def used_retries(self) -> int:
        """Number of attempts that count against the limit of retries."""
        return self.interrupted + self.failures

    def lateness(self, deadline_ms: float | None, now_s: float) -> str:
        """Return why the request must not begin any more; empty if it may, or has begun.

        Args:
            deadline_ms: of the plan, from the acceptance; None for none.
            now_s: monotonic seconds.
        """
        if self.attempt > 0:
            return ""
        age_s, lifetime_s = now_s - self.accepted_s, self.request.lifetime_s
        if lifetime_s is not None and age_s > lifetime_s:
            return "its message expiry interval has passed before it was dispatched"
        if deadline_ms is not None and 1000 * age_s > deadline_ms:
            return f"not dispatched within its deadline of {deadline_ms:g} ms"
        return ""


@dataclass(slots=True)
class RetryTimeout:
    """Timeouts of attempts, from predicted and recently observed latencies."""

    limits: SourceLimits
    _observed_ms: float | None = field(default=None, init=False)
    _usual_bytes: float | None = field(default=None, init=False)

    def forget(self) -> None:
        """Drop observed latencies, which belong to the replaced plan; payload sizes do not depend on a plan."""
        self._observed_ms = None

    def observe(self, latency_ms: float, size_bytes: int) -> None:
        """Record the time from dispatch to outcome of a request with this payload size."""
        self._observed_ms = _smoothed(self._observed_ms, latency_ms)
        self._usual_bytes = _smoothed(self._usual_bytes, size_bytes)

    def timeout_s(
        self, plan: CommittedPlan, route: PlanRoute, attempt: int, in_flight: int, size_bytes: int = 0
    ) -> float:
        """Return four times the expected latency, doubled with every attempt.

        The expected latency is the larger of the prediction times the requests in flight, which may all queue at one
        device, and the observed latency. Without the latter an overloaded route would be loaded further by retries.
        It grows in proportion for payloads larger than usual.

        Args:
            plan: gives the deadline, which bounds the wait if nothing is predicted or observed.
            route: gives the predicted latency.
            attempt: number of this attempt, from 1, without those before the broker was away.
            in_flight: requests in flight, this one included.
            size_bytes: payload of the request.
        """
        predicted_ms = (route.predicted_ms or 0.0) * max(1, in_flight)
        expected_ms = max(predicted_ms, self._observed_ms or 0.0)
        if self._usual_bytes:
            expected_ms *= max(1.0, size_bytes / self._usual_bytes)
        if expected_ms > 0:
            base_s = max(self.limits.minimum_timeout_s, _TIMEOUT_FACTOR * expected_ms / 1000)
        elif plan.deadline_ms is not None:
            base_s = max(self.limits.minimum_timeout_s, 2 * plan.deadline_ms / 1000)
        else:
            base_s = self.limits.unpredicted_timeout_s
        return float(min(_MAX_TIMEOUT_S, base_s * 2 ** min(attempt - 1, _MAX_DOUBLINGS)))


@dataclass(slots=True)
class PendingRequests:
    """The pending requests of one stream: a queue of those that wait, and those in flight.

    Invariant (`validate`): a WAITING request is in the queue once and has no route. An IN_FLIGHT request is not in the
    queue and has a route. `waiting_bytes` is the total payload of the queue. `SourceState` is the only caller of the
    methods that change anything.

    Attributes:
        timeouts: gives every attempt its timeout.
        waiting_bytes: total payload of the waiting requests.
    """

    timeouts: RetryTimeout
    waiting_bytes: int = field(default=0, init=False)
    _requests: dict[str, PendingRequest] = field(default_factory=dict, init=False)
    _queue: deque[PendingRequest] = field(default_factory=deque, init=False)

    def __len__(self) -> int:
        """Return the number of pending requests."""
        return len(self._requests)

    def __contains__(self, request_id: str) -> bool:
        """Return whether a request is pending."""
        return request_id in self._requests

    def __iter__(self) -> Iterator[PendingRequest]:
        """Iterate over all pending requests in the order of arrival."""
        return iter(self._requests.values())

    def get(self, request_id: str) -> PendingRequest | None:
        """Return a pending request; None if there is none with this id."""
        return self._requests.get(request_id)

    @property
    def waiting(self) -> tuple[PendingRequest, ...]:
        """The waiting requests in the order of dispatch."""
        return tuple(self._queue)

    @property
    def next_waiting(self) -> PendingRequest | None:
        """The request at the head of the queue."""
        return self._queue[0] if self._queue else None

    @property
    def waiting_count(self) -> int:
        """Number of waiting requests, retries included."""
        return len(self._queue)

    @property
    def in_flight_count(self) -> int:
        """Number of requests in flight."""
        return len(self._requests) - len(self._queue)

    def in_flight(self) -> list[PendingRequest]:
        """Return the requests in flight in the order of arrival."""
        return [pending for pending in self if pending.phase is RequestPhase.IN_FLIGHT]

    def add(self, request: Request, accepted_s: float, now_s: float) -> None:
        """Append a request to the queue."""
        self._append(PendingRequest(request, accepted_s, waiting_since_s=now_s))

    def restore(self, restored: RestoredRequest, now_s: float) -> None:
        """Append a request from before a restart to the queue."""
        # The request itself may have ended this process while it was in flight.
        interrupted = restored.used_retries + (1 if restored.attempt else 0)
        self._append(
            PendingRequest(
                restored.request,
                now_s - restored.age_s,
                attempt=restored.attempt,
                interrupted=interrupted,
                waiting_since_s=now_s,
            )
        )

    def start(self, pending: PendingRequest, plan: CommittedPlan, route: PlanRoute, now_s: float) -> None:
        """Begin the next attempt of a waiting request, with its timeout."""
        self._dequeue(pending)
        pending.phase, pending.route, pending.epoch = RequestPhase.IN_FLIGHT, route, plan.epoch
        pending.attempt += 1
        pending.dispatched_s = now_s
        retries = pending.used_retries
        usual_s = self.timeouts.timeout_s(plan, route, retries + 1, self.in_flight_count, pending.request.size_bytes)
        pending.timeout_s = max(usual_s, LAST_TIMEOUT_S) if 0 < retries >= plan.retry_limit else usual_s
        pending.usual_due_s, pending.due_s = now_s + usual_s, now_s + pending.timeout_s

    def follow_plan(self, now_s: float) -> None:
        """Let last attempts wait no longer than others: there is a new plan for the next one."""
        for pending in self.in_flight():
            # A later end than that of the timeout has reasons of its own.
            if pending.due_s <= pending.dispatched_s + pending.timeout_s:
                pending.due_s = min(pending.due_s, max(now_s, pending.usual_due_s))

    def requeue(self, retries: Sequence[PendingRequest], now_s: float, *, has_failed: bool = True) -> None:
        """Put requests in flight back at the head of the queue, in the order given; count their attempts as failed."""
        # In reverse, because each is put before the head: so retries keep their order, before requests never sent.
        for pending in reversed(retries):
            pending.phase, pending.route, pending.waiting_since_s = RequestPhase.WAITING, None, now_s
            pending.failures += has_failed
            self._queue.appendleft(pending)
            self.waiting_bytes += pending.request.size_bytes

    def remove(self, pending: PendingRequest) -> None:
        """Remove a request that has its outcome."""
        if pending.phase is RequestPhase.WAITING:
            self._dequeue(pending)
        del self._requests[pending.request_id]

    def restart_clocks(self, now_s: float) -> None:
        """Begin all waits and timeouts again: time has passed in which no outcome could arrive."""
        for pending in self:
            pending.due_s = max(pending.due_s, now_s + pending.timeout_s)
            pending.waiting_since_s = now_s

    def forgive(self) -> None:
        """Count the attempts of this process no longer: they may have failed because the broker was away.

        A request is forgiven a few times only. On a link that it overloads the broker may seem away again and again.
        """
        for pending in self:
            if pending.failures and pending.forgiven < _MAX_FORGIVEN:
                pending.failures = 0
                pending.unanswered.clear()
                pending.forgiven += 1

    def note_unanswered(self, pending: PendingRequest, epoch: int) -> None:
        """Note that the timeout of the newest attempt of a request in flight has passed.

        Attempts count no longer if they followed an earlier plan than that in force, of this epoch.
        """
        if pending.route is not None:
            pending.unanswered.update(stage_devices(pending.route))
        if pending.epoch < epoch and pending.failures and pending.forgiven < _MAX_FORGIVEN:
            pending.failures = 0
            pending.unanswered.clear()
            pending.forgiven += 1

    def forgive_silence(self, device: str) -> None:
        """Count the attempts no longer that were not answered, because a device of their routes was gone already.

        A request is forgiven a few times only: it may be what makes devices hang.
        """
        for pending in self:
            unanswered = pending.unanswered.pop(device, 0)
            if unanswered and pending.forgiven < _MAX_FORGIVEN:
                pending.failures = max(0, pending.failures - unanswered)
                pending.forgiven += 1

    def validate(self) -> None:
        """Check the invariant.

        Raises:
            AssertionError: it does not hold.
        """
        queued = [pending.request_id for pending in self._queue]
        waiting = {pending.request_id for pending in self if pending.phase is RequestPhase.WAITING}
        assert sorted(queued) == sorted(waiting), "the queue holds each waiting request once"
        assert self.waiting_bytes == sum(pending.request.size_bytes for pending in self._queue)
        for pending in self:
            is_waiting = pending.phase is RequestPhase.WAITING
            assert (pending.route is None) == is_waiting, f"{pending.request_id} has a route if and only if in flight"

    def _append(self, pending: PendingRequest) -> None:
        self._requests[pending.request_id] = pending
        self._queue.append(pending)
        self.waiting_bytes += pending.request.size_bytes

    def _dequeue(self, pending: PendingRequest) -> None:
        self._queue.remove(pending)  # O(1) for the head; a superseded or late request may be further back.
        self.waiting_bytes -= pending.request.size_bytes


def _smoothed(before: float | None, value: float) -> float:
    return value if before is None else (1 - _SMOOTHING) * before + _SMOOTHING * value
