"""State machine of a stream's source: which requests it accepts, when and where they go, and how each one ends.

`SourceState.handle` takes an event and the time and returns commands; `StreamSource` performs them in this order.
It does no I/O and reads no clock.

The package's docstring has the diagram and the table of events.

Rules that hold for every sequence of events:

- Every accepted request ends by exactly one StoreOutcome or Fail. These alone publish an outcome for the first time.
  Republish publishes the same bytes again, so that all outcomes of a request are equal.
- Every RequestArrived is answered by exactly one Accept or Acknowledge, which acknowledges the delivery to the broker.
- The attempts of a request are numbered 1, 2, 3, ...; receivers drop older attempts when they meet a newer one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

from services.executor.source.device_presence import DevicePresence, stage_devices
from services.executor.source.latency_record import LatencyRecord
from services.executor.source.local_switching import RouteSwitch, RouteSwitcher
from services.executor.source.outcome_memory import OutcomeMemory
from services.executor.source.pending_requests import PendingRequest, PendingRequests, RequestPhase, RetryTimeout
from services.executor.source.route_scheduler import RouteScheduler
from services.executor.source.source_events import (
    Accept,
    Acknowledge,
    AlternativesKnown,
    AttemptRefused,
    BusChanged,
    CollectorsChanged,
    Confirm,
    Confirmed,
    ContextEvent,
    DeleteOutcomes,
    DeviceSeen,
    Dispatch,
    Fail,
    JournalRestored,
    NotePublished,
    Observed,
    OutcomeSeen,
    OutcomesPublished,
    OutputsArriving,
    PlanCommitted,
    PlanRevoked,
    ReportRetry,
    ReportSwitch,
    Republish,
    Request,
    RequestArrived,
    RetryTick,
    SourceCommand,
    SourceEvent,
    SourceLimits,
    StoreOutcome,
    StreamWithdrawn,
    TimeSkipped,
    Undispatchable,
)
from shared.messages.requests import ErrorCause
from shared.messages.streams import CommittedPlan

_HOUSEKEEPING_INTERVAL_S = 1.0
# Approximate size of an error outcome, counted before it is encoded.
_ERROR_BYTES = 512


@dataclass(slots=True)
class SourceState:
    """The requests of one stream at its source; changed through `handle` only.

    Attributes:
        device: name of the source device.
        limits: bounds and intervals.
        plan: the plan in force, if any.
        latencies: of requests on the plan's routes since the last report.
    """

    device: str
    limits: SourceLimits = field(default_factory=SourceLimits)
    plan: CommittedPlan | None = field(default=None, init=False)
    # Kept from the last plan while none is in force: a live stream stays live.
    _is_live: bool = field(default=False, init=False)
    _is_withdrawn: bool = field(default=False, init=False)
    _is_online: bool = field(default=True, init=False)
    _has_collector: bool = field(default=False, init=False)
    _pending: PendingRequests = field(init=False)
    _outcomes: OutcomeMemory = field(init=False)
    _housekeeping_s: float = field(default=0.0, init=False)
    latencies: LatencyRecord = field(default_factory=LatencyRecord, init=False)
    _devices: DevicePresence = field(init=False)
    _switcher: RouteSwitcher = field(init=False)
    _scheduler: RouteScheduler = field(default_factory=RouteScheduler, init=False)

    def __post_init__(self) -> None:
        self._pending = PendingRequests(RetryTimeout(self.limits))
        self._outcomes = OutcomeMemory(self.limits)
        self._devices = DevicePresence(self.device)
        self._switcher = RouteSwitcher(self.device)

    @property
    def has_room(self) -> bool:
        """True if another request may be accepted; a live stream always accepts the newest."""
        return self._is_live or (
            self._pending.waiting_count < self.limits.max_waiting
            and self._pending.waiting_bytes < self.limits.max_waiting_bytes
        )

    @property
    def waiting(self) -> int:
        """Number of accepted requests that wait, retries included."""
        return self._pending.waiting_count

    @property
    def in_flight(self) -> int:
        """Number of requests in flight."""
        return self._pending.in_flight_count

    @property
    def is_idle(self) -> bool:
        """True if no accepted request is left."""
        return not self._pending

    def phase(self, request_id: str) -> RequestPhase | None:
        """Return the phase of a request; None if it is unknown or forgotten."""
        if (pending := self._pending.get(request_id)) is not None:
            return pending.phase
        return RequestPhase.FINISHED if request_id in self._outcomes else None

    def validate(self) -> None:
        """Check the invariants, for tests.

        Raises:
            AssertionError: one does not hold.
        """
        self._pending.validate()
        both = [pending.request_id for pending in self._pending if pending.request_id in self._outcomes]
        assert not both, f"{both} are pending and finished"

    def handle(self, event: SourceEvent, now_s: float) -> list[SourceCommand]:
        """Take an event at `now_s` (monotonic seconds) and return the commands, to be performed in this order."""
        if isinstance(event, ContextEvent):
            return self._context_changed(event, now_s)
        match event:
            case RequestArrived(request, token, fault):
                return self._arrived(request, token, fault, now_s)
            case OutputsArriving(request_id):
                if (pending := self._pending.get(request_id)) is not None:
                    pending.outputs_arriving(now_s)
                return []
            case OutcomeSeen():
                return self._outcome_seen(event, now_s)
            case OutcomesPublished(request_ids):
                newly_published = self._outcomes.note_published(request_ids)
                return [NotePublished(newly_published)] if newly_published else []
            case Undispatchable(request_id, text):
                return self._undispatchable(request_id, text, now_s)
            case AttemptRefused():
                return self._attempt_refused(event, now_s)
            case Confirmed(request_ids):
                newly_confirmed = self._outcomes.confirm(request_ids)
                return [Confirm(newly_confirmed)] if newly_confirmed else []
            case JournalRestored():
                return self._restored(event, now_s)
            case RetryTick():
                switched = self._switch(self._switcher.tick(now_s))
                return [*switched, *self._expire(now_s), *self._pump(now_s), *self._keep_house(now_s)]
            case _ as never:
                assert_never(never)

    def _context_changed(self, event: ContextEvent, now_s: float) -> list[SourceCommand]:
        match event:
            case PlanCommitted(plan):
                return self._committed(plan, now_s)
            case PlanRevoked():
                self.plan = None
                return []
            case StreamWithdrawn():
                self._is_withdrawn, self.plan = True, None
                return self._pump(now_s)
            case DeviceSeen(device, boot_id):
                return self._device_seen(device, boot_id, now_s)
            case BusChanged(is_online):
                return self._bus_changed(is_online, now_s)
            case TimeSkipped():
                self._pending.restart_clocks(now_s)
                return []
            case CollectorsChanged(is_online):
                self._has_collector = is_online
                return []
            case AlternativesKnown(alternatives):
                self._switcher.learn(alternatives)
                return []
            case Observed(observation):
                return self._switch(self._switcher.observed(observation, now_s))
            case _ as never:
                assert_never(never)

    def _arrived(self, request: Request, token: int, fault: str, now_s: float) -> list[SourceCommand]:
        request_id = request.request_id
        if (pending := self._pending.get(request_id)) is not None:
            pending.repetition = request
            return [Acknowledge(token)]
        if request_id in self._outcomes:
            return [Republish(request_id, request.response_topic, request.correlation_data), Acknowledge(token)]
        if not self._pending:
            # The source was idle: a new burst begins, whose routes are taken from the first.
            self._scheduler.begin_burst()
        self._pending.add(request, now_s, now_s)
        if fault and (pending := self._pending.get(request_id)) is not None:
            return [Accept(request, token), self._fail(pending, ErrorCause.BAD_INPUT, fault, now_s)]
        superseded = self._supersede(now_s) if self._is_live else []
        return [Accept(request, token), *superseded, *self._pump(now_s)]

    def _supersede(self, now_s: float) -> list[SourceCommand]:
        """Fail the never dispatched requests of a live stream, except the newest."""
        fresh = [pending for pending in self._pending.waiting if pending.attempt == 0]
        return [self._fail(old, ErrorCause.SUPERSEDED, "a newer frame came first", now_s) for old in fresh[:-1]]

    def _committed(self, plan: CommittedPlan, now_s: float) -> list[SourceCommand]:
        current = self.plan
        # A delayed older plan is ignored. A lower epoch that was committed later comes from a planner that has lost
        # its data and counts from the start again.
        if current and plan.epoch < current.epoch and plan.committed_at_s <= current.committed_at_s:
            return []
        if current is None or plan.epoch != current.epoch:
            self._pending.timeouts.forget()
            self._pending.follow_plan(now_s)
        self._is_withdrawn = False
        self.plan, self._is_live = plan, plan.live
        self._switcher.committed(plan, now_s)
        self._scheduler.set_routes(self._switcher.routes, in_order=plan.jobs > 1)
        superseded = self._supersede(now_s) if plan.live else []
        return [*superseded, *self._pump(now_s)]

    def _switch(self, switch: RouteSwitch | None) -> list[SourceCommand]:
        if switch is None:
            return []
        self._scheduler.set_routes(switch.routes)
        return [ReportSwitch(switch.text)]

    def _outcome_seen(self, outcome: OutcomeSeen, now_s: float) -> list[SourceCommand]:
        pending = self._pending.get(outcome.request_id)
        if pending is None:
            return []
        # The outcome of an older attempt says nothing about the latency of the newest one.
        is_newest = pending.phase is RequestPhase.IN_FLIGHT and outcome.attempt == pending.attempt
        if is_newest and outcome.ok and outcome.attempt == 1 and self._is_planned(pending):
            # Only what the plan is responsible for: no retries, and no routes of the source's own choice.
            self.latencies.add(pending.epoch, 1000 * (now_s - pending.dispatched_s), outcome.trace)
        if is_newest and outcome.ok:
            self._pending.timeouts.observe(1000 * (now_s - pending.dispatched_s), pending.request.size_bytes)
        self._finish(pending, len(outcome.payload), now_s, is_published=outcome.is_published)
        commands: list[SourceCommand] = [
            StoreOutcome(pending.request, outcome.payload, outcome.content_type, outcome.is_published)
        ]
        again = pending.repetition
        if again is not None and (outcome.is_published or not _is_answered_alike(again, pending.request)):
            commands.append(Republish(again.request_id, again.response_topic, again.correlation_data))
        return [*commands, *self._pump(now_s)]

    def _is_planned(self, pending: PendingRequest) -> bool:
        return self.plan is not None and self.plan.epoch == pending.epoch and pending.route in self.plan.routes

    def _undispatchable(self, request_id: str, text: str, now_s: float) -> list[SourceCommand]:
        pending = self._pending.get(request_id)
        if pending is None:
            return []
        return [self._fail(pending, ErrorCause.EXECUTION, text, now_s), *self._pump(now_s)]

    def _attempt_refused(self, refused: AttemptRefused, now_s: float) -> list[SourceCommand]:
        pending = self._pending.get(refused.request_id)
        if pending is None or pending.phase is not RequestPhase.IN_FLIGHT or pending.attempt != refused.attempt:
            return []
        if refused.has_no_room:
            # No failure, and not at once again: the devices are busy with requests that came before.
            self._pending.requeue([pending], now_s, has_failed=False)
            return []
        return [*self._retry([pending], refused.reason, now_s), *self._pump(now_s)]

    def _device_seen(self, device: str, boot_id: str | None, now_s: float) -> list[SourceCommand]:
        if device == self.device:
            return []
        loss = self._devices.update(device, boot_id)
        if loss is None:
            # A device that came back may make a route usable for which requests wait.
            return self._pump(now_s)
        self._pending.forgive_silence(device)
        switched = self._switch(self._switcher.lost(device))
        hit = [
            pending for pending in self._pending.in_flight() if pending.route and device in stage_devices(pending.route)
        ]
        return [*switched, *self._retry(hit, loss, now_s), *self._pump(now_s)]

    def _bus_changed(self, is_online: bool, now_s: float) -> list[SourceCommand]:
        self._is_online = is_online
        if not is_online:
            return []
        self._pending.restart_clocks(now_s)
        self._pending.forgive()
        return self._pump(now_s)

    def _expire(self, now_s: float) -> list[SourceCommand]:
        """Retry attempts past their timeout; fail requests that have waited too long for a usable route."""
        if not self._is_online:
            return []
        late = [pending for pending in self._pending.in_flight() if now_s >= pending.due_s]
        for pending in late:
            self._pending.note_unanswered(pending, self.plan.epoch if self.plan else 0)
        commands = self._retry(late, "no outcome in time", now_s)
        for pending in self._pending.waiting:
            waited_s = now_s - pending.waiting_since_s
            if waited_s >= self.limits.patience_s:
                text = f"no usable route for {waited_s:.0f} s"
                commands.append(self._fail(pending, ErrorCause.RETRIES_EXHAUSTED, text, now_s))
        return commands

    def _retry(self, attempts: Iterable[PendingRequest], reason: str, now_s: float) -> list[SourceCommand]:
        limit = self.plan.retry_limit if self.plan else self.limits.retry_limit
        commands: list[SourceCommand] = []
        retries: list[PendingRequest] = []
        for pending in attempts:
            if pending.used_retries >= limit:
                text = f"given up after {pending.attempt} attempts: {reason}"
                commands.append(self._fail(pending, ErrorCause.RETRIES_EXHAUSTED, text, now_s))
            else:
                retries.append(pending)
                commands.append(ReportRetry(pending.request_id, pending.attempt, reason))
        self._pending.requeue(retries, now_s)
        return commands

    def _pump(self, now_s: float) -> list[SourceCommand]:
        """Dispatch waiting requests as far as possible, in the order of arrival, retries first."""
        if self._is_withdrawn:
            text = "the stream was withdrawn"
            return [self._fail(pending, ErrorCause.EXECUTION, text, now_s) for pending in self._pending.waiting]
        plan, commands = self.plan, self._fail_late(now_s)
        if plan is None:
            return commands
        while self._is_online and self._pending.in_flight_count < plan.max_in_flight:
            pending = self._pending.next_waiting
            if pending is None:
                break
            route = self._scheduler.next(self._devices.is_usable, is_retry=pending.attempt > 0)
            if route is None:
                break
            if pending.used_retries > plan.retry_limit:
                # A restored request that was in flight at every crash of its source may be their cause.
                text = f"given up after {pending.attempt} attempts"
                commands.append(self._fail(pending, ErrorCause.RETRIES_EXHAUSTED, text, now_s))
                continue
            self._pending.start(pending, plan, route, now_s)
            commands.append(
                Dispatch(pending.request, pending.attempt, plan, route, pending.accepted_s, pending.used_retries)
            )
        return commands

    def _fail_late(self, now_s: float) -> list[SourceCommand]:
        """Fail the requests that must not begin any more."""
        deadline_ms = self.plan.deadline_ms if self.plan else None
        late = [(pending, pending.lateness(deadline_ms, now_s)) for pending in self._pending.waiting]
        return [self._fail(pending, ErrorCause.DEADLINE, text, now_s) for pending, text in late if text]

    def _fail(self, pending: PendingRequest, cause: ErrorCause, text: str, now_s: float) -> SourceCommand:
        self._finish(pending, _ERROR_BYTES, now_s)
        age_s = max(0.0, now_s - pending.accepted_s)
        return Fail(pending.request, cause, text, pending.attempt, pending.epoch, age_s)

    def _finish(self, pending: PendingRequest, size_bytes: int, now_s: float, *, is_published: bool = False) -> None:
        # The only way out of `_pending`, and each caller returns one StoreOutcome or Fail: exactly one outcome.
        self._pending.remove(pending)
        self._outcomes.add(pending.request, size_bytes, now_s, is_published=is_published)

    def _keep_house(self, now_s: float) -> list[SourceCommand]:
        """Republish outcomes that the broker or the collector lacks, and remove old ones, once a second."""
        if now_s < self._housekeeping_s:
            return []
        self._housekeeping_s = now_s + _HOUSEKEEPING_INTERVAL_S
        commands: list[SourceCommand] = []
        if self._is_online:
            commands += self._outcomes.due(now_s, has_collector=self._has_collector)
        forgotten = self._outcomes.trim(now_s)
        return [*commands, DeleteOutcomes(forgotten)] if forgotten else commands

    def _restored(self, restored: JournalRestored, now_s: float) -> list[SourceCommand]:
        for outcome in restored.outcomes:
            self._outcomes.restore(outcome, now_s)
        for record in restored.requests:
            request_id = record.request.request_id
            if request_id not in self._pending and request_id not in self._outcomes:
                self._pending.restore(record, now_s)
        return self._pump(now_s)


def _is_answered_alike(one: Request, other: Request) -> bool:
    return (one.response_topic, one.correlation_data) == (other.response_topic, other.correlation_data)
