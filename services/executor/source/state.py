"""What a source decides: which requests it takes, when and where they go, and how each ends exactly once. Pure.

`SourceState` takes an event and the time and returns commands; `intake` performs them. A request is

    waiting -> in flight -> finished -> forgotten
       ^-- retry --'            `- announced again until a collector confirms it

and every accepted request leaves by exactly one `StoreOutcome` or one `Fail`.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

from services.executor.source.local_switching import RouteSwitch, RouteSwitcher
from services.executor.source.outcome_memory import OutcomeMemory
from services.executor.source.pending_request import PendingRequest, RequestPhase
from services.executor.source.retry_timeout import RetryTimeout
from services.executor.source.route_scheduler import RouteScheduler
from services.executor.source.source_events import (
    Accept,
    Acknowledge,
    AlternativesKnown,
    AttemptRefused,
    BusChanged,
    CollectorsChanged,
    Command,
    Confirm,
    Confirmed,
    DeleteOutcomes,
    DeviceSeen,
    Dispatch,
    Event,
    Fail,
    JournalRestored,
    Observed,
    OutcomeSeen,
    PlanCommitted,
    PlanRevoked,
    ReportRetry,
    ReportSwitch,
    Republish,
    Request,
    RequestArrived,
    RetryTick,
    SourceLimits,
    StoreOutcome,
    StreamWithdrawn,
    Undispatchable,
)
from shared.messages.requests import ErrorCause
from shared.messages.streams import CommittedPlan, PlanRoute

_HOUSEKEEPING_INTERVAL_S = 1.0
_ERROR_BYTES = 512
"""What an error outcome takes, about."""


@dataclass(slots=True)
class SourceState:
    """The requests of one stream at its source.

    Attributes:
        device: the source device's own name: the one whose absence is never an obstacle.
        limits: bounds and intervals.
    """

    device: str
    limits: SourceLimits = field(default_factory=SourceLimits)
    plan: CommittedPlan | None = field(default=None, init=False)
    _live: bool = field(default=False, init=False)
    _withdrawn: bool = field(default=False, init=False)
    _online: bool = field(default=True, init=False)
    _collectors: bool = field(default=False, init=False)
    _active: dict[str, PendingRequest] = field(default_factory=dict, init=False)
    _waiting: deque[str] = field(default_factory=deque, init=False)
    _waiting_bytes: int = field(default=0, init=False)
    _in_flight: int = field(default=0, init=False)
    _outcomes: OutcomeMemory = field(init=False)
    _housekeeping_s: float = field(default=0.0, init=False)
    _boots: dict[str, str | None] = field(default_factory=dict, init=False)
    _reflex: RouteSwitcher = field(init=False)
    _wheel: RouteScheduler = field(default_factory=RouteScheduler, init=False)
    _patience: RetryTimeout = field(init=False)

    def __post_init__(self) -> None:
        self._outcomes = OutcomeMemory(self.limits)
        self._reflex = RouteSwitcher(self.device)
        self._patience = RetryTimeout(self.limits)

    @property
    def has_room(self) -> bool:
        """Whether another request may be taken over; live streams always take the newest."""
        return self._live or (
            len(self._waiting) < self.limits.max_waiting and self._waiting_bytes < self.limits.max_waiting_bytes
        )

    @property
    def waiting(self) -> int:
        """Accepted requests that wait for their turn, retries included."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return self._in_flight

    @property
    def is_idle(self) -> bool:
        """Whether no accepted request is left."""
        return not self._active

    def handle(self, event: Event, now_s: float) -> list[Command]:
        """Take what has happened at `now_s` (monotonic seconds) and return what to do, in this order."""
        match event:
            case RequestArrived(request, token):
                return self._arrived(request, token, now_s)
            case PlanCommitted(plan):
                return self._committed(plan, now_s)
            case PlanRevoked():
                self.plan = None
                return []
            case OutcomeSeen():
                return self._seen(event, now_s)
            case Undispatchable(request_id, text):
                return self._lost(request_id, text, now_s)
            case AttemptRefused():
                return self._refused(event, now_s)
            case DeviceSeen(device, boot_id):
                return self._device(device, boot_id, now_s)
            case BusChanged(online):
                return self._bus(online, now_s)
            case RetryTick():
                switched = self._switch(self._reflex.tick(now_s))
                return [*switched, *self._expire(now_s), *self._pump(now_s), *self._keep_house(now_s)]
            case AlternativesKnown(alternatives):
                self._reflex.learn(alternatives)
                return []
            case Observed(observation):
                return self._switch(self._reflex.observed(observation, now_s))
            case CollectorsChanged(online):
                self._collectors = online
                return []
            case Confirmed(request_ids):
                news = self._outcomes.confirm(request_ids)
                return [Confirm(news)] if news else []
            case StreamWithdrawn():
                self._withdrawn, self.plan = True, None
                return self._pump(now_s)
            case JournalRestored():
                return self._restored(event, now_s)
            case _ as never:
                assert_never(never)

    def _arrived(self, request: Request, token: int, now_s: float) -> list[Command]:
        known = request.request_id
        if known in self._active:
            self._active[known].asked_again = request
            return [Acknowledge(token)]
        if known in self._outcomes:
            return [Republish(known, request.response_topic, request.correlation_data), Acknowledge(token)]
        if not self._active:
            self._wheel.begin()
        self._active[known] = PendingRequest(request, now_s, waiting_since_s=now_s)
        commands: list[Command] = [Accept(request, token)]
        if self._live:
            commands += self._supersede(now_s)
        self._wait(known)
        return commands + self._pump(now_s)

    def _supersede(self, now_s: float, *, keep: int = 0) -> list[Command]:
        """End what waits in a live stream and was never dispatched, but for the newest `keep` frames."""
        fresh = [known for known in self._waiting if self._active[known].attempt == 0]
        older = fresh[: len(fresh) - keep]
        return [self._fail(known, ErrorCause.SUPERSEDED, "a newer frame came first", now_s) for known in older]

    def _committed(self, plan: CommittedPlan, now_s: float) -> list[Command]:
        current = self.plan
        if current and plan.epoch < current.epoch and plan.committed_at_s <= current.committed_at_s:
            return []
        if current is None or plan.epoch != current.epoch:
            self._patience.forget()
        self._withdrawn = False
        self.plan, self._live = plan, plan.live
        self._reflex.committed(plan, now_s)
        self._wheel.turn_to(self._reflex.routes, in_order=plan.jobs > 1)
        superseded = self._supersede(now_s, keep=1) if plan.live else []
        return [*superseded, *self._pump(now_s)]

    def _switch(self, switch: RouteSwitch | None) -> list[Command]:
        if switch is None:
            return []
        self._wheel.turn_to(switch.routes)
        return [ReportSwitch(switch.text)]

    def _seen(self, outcome: OutcomeSeen, now_s: float) -> list[Command]:
        active = self._active.get(outcome.request_id)
        if active is None:
            return []
        if active.phase is RequestPhase.IN_FLIGHT and outcome.ok and outcome.attempt == active.attempt:
            self._patience.observe(1000 * (now_s - active.dispatched_s), active.request.size_bytes)
        self._finish(outcome.request_id, len(outcome.payload), now_s)
        commands: list[Command] = [StoreOutcome(outcome.request_id, outcome.payload, outcome.content_type)]
        if (again := active.asked_again) is not None:
            commands.append(Republish(again.request_id, again.response_topic, again.correlation_data))
        return [*commands, *self._pump(now_s)]

    def _lost(self, known: str, text: str, now_s: float) -> list[Command]:
        if known not in self._active:
            return []
        return [self._fail(known, ErrorCause.EXECUTION, text, now_s), *self._pump(now_s)]

    def _refused(self, refused: AttemptRefused, now_s: float) -> list[Command]:
        active = self._active.get(refused.request_id)
        if active is None or active.phase is not RequestPhase.IN_FLIGHT or active.attempt != refused.attempt:
            return []
        return [*self._retry([refused.request_id], refused.reason, now_s), *self._pump(now_s)]

    def _device(self, device: str, boot_id: str | None, now_s: float) -> list[Command]:
        if device == self.device:
            return []
        known = device in self._boots
        before = self._boots.get(device)
        self._boots[device] = boot_id
        lost = boot_id is None or (known and before is not None and before != boot_id)
        if not lost or (known and before is None):
            return self._pump(now_s)
        switched = self._switch(self._reflex.lost(device))
        reason = f"{device} went offline" if boot_id is None else f"{device} was restarted"
        hit = [
            active.request.request_id
            for active in self._active.values()
            if active.phase is RequestPhase.IN_FLIGHT and active.route and device in _devices(active.route)
        ]
        return [*switched, *self._retry(hit, reason, now_s), *self._pump(now_s)]

    def _bus(self, online: bool, now_s: float) -> list[Command]:
        self._online = online
        if online:
            # What was under way may have been lost with the broker: the timeout starts again.
            for active in self._active.values():
                active.due_s = max(active.due_s, now_s + active.timeout_s)
                active.waiting_since_s = now_s
        return self._pump(now_s) if online else []

    def _expire(self, now_s: float) -> list[Command]:
        if not self._online:
            return []
        late = [
            active.request.request_id
            for active in self._active.values()
            if active.phase is RequestPhase.IN_FLIGHT and now_s >= active.due_s
        ]
        commands = self._retry(late, "no outcome in time", now_s)
        for known in tuple(self._waiting):
            waited_s = now_s - self._active[known].waiting_since_s
            if waited_s >= self.limits.patience_s:
                text = f"no usable route for {waited_s:.0f} s"
                commands.append(self._fail(known, ErrorCause.RETRIES_EXHAUSTED, text, now_s))
        return commands

    def _retry(self, request_ids: Iterable[str], reason: str, now_s: float) -> list[Command]:
        limit = self.plan.retry_limit if self.plan else self.limits.retry_limit
        commands: list[Command] = []
        again: list[str] = []
        for known in request_ids:
            active = self._active[known]
            if active.attempt > limit:
                text = f"given up after {active.attempt} attempts: {reason}"
                commands.append(self._fail(known, ErrorCause.RETRIES_EXHAUSTED, text, now_s))
                continue
            active.phase, active.route, active.waiting_since_s = RequestPhase.WAITING, None, now_s
            self._in_flight -= 1
            again.append(known)
            commands.append(ReportRetry(known, active.attempt, reason))
        for known in reversed(again):
            self._wait(known, first=True)
        return commands

    def _pump(self, now_s: float) -> list[Command]:
        """Dispatch what may go, in the order of arrival, retries first."""
        commands: list[Command] = []
        if self._withdrawn:
            text = "the stream was withdrawn"
            return [self._fail(known, ErrorCause.EXECUTION, text, now_s) for known in tuple(self._waiting)]
        plan = self.plan
        if plan is None:
            return []
        commands += self._past_deadline(plan, now_s)
        while self._online and self._waiting and self._in_flight < plan.max_in_flight:
            known = self._waiting[0]
            attempts = self._active[known].attempt
            route = self._wheel.next(self._is_usable, again=attempts > 0)
            if route is None:
                break
            if attempts > plan.retry_limit:
                # It was under way whenever its source died: it may be the cause.
                text = f"given up after {attempts} attempts"
                commands.append(self._fail(known, ErrorCause.RETRIES_EXHAUSTED, text, now_s))
                continue
            commands.append(self._dispatch(known, plan, route, now_s))
        return commands

    def _past_deadline(self, plan: CommittedPlan, now_s: float) -> list[Command]:
        if plan.deadline_ms is None:
            return []
        late = [
            known
            for known in self._waiting
            if self._active[known].attempt == 0 and 1000 * (now_s - self._active[known].accepted_s) > plan.deadline_ms
        ]
        text = f"not dispatched within its deadline of {plan.deadline_ms:g} ms"
        return [self._fail(known, ErrorCause.DEADLINE, text, now_s) for known in late]

    def _dispatch(self, known: str, plan: CommittedPlan, route: PlanRoute, now_s: float) -> Command:
        active = self._active[known]
        self._unwait(known)
        self._in_flight += 1
        active.phase, active.route, active.epoch = RequestPhase.IN_FLIGHT, route, plan.epoch
        active.attempt += 1
        active.dispatched_s = now_s
        size_bytes = active.request.size_bytes
        active.timeout_s = self._patience.timeout_s(plan, route, active.attempt, self._in_flight, size_bytes)
        active.due_s = now_s + active.timeout_s
        return Dispatch(active.request, active.attempt, plan, route)

    def _is_usable(self, route: PlanRoute) -> bool:
        return all(device == self.device or self._boots.get(device, "") is not None for device in _devices(route))

    def _fail(self, known: str, cause: ErrorCause, text: str, now_s: float) -> Command:
        active = self._active[known]
        self._finish(known, _ERROR_BYTES, now_s)
        return Fail(active.request, cause, text, active.attempt, active.epoch)

    def _finish(self, known: str, size_bytes: int, now_s: float) -> None:
        active = self._active[known]
        if active.phase is RequestPhase.WAITING:
            self._unwait(known)
        else:
            self._in_flight -= 1
        del self._active[known]
        self._outcomes.add(known, size_bytes, now_s)

    def _wait(self, known: str, *, first: bool = False) -> None:
        self._waiting_bytes += self._active[known].request.size_bytes
        if first:
            self._waiting.appendleft(known)
        else:
            self._waiting.append(known)

    def _unwait(self, known: str) -> None:
        self._waiting.remove(known)
        self._waiting_bytes -= self._active[known].request.size_bytes

    def _keep_house(self, now_s: float) -> list[Command]:
        if now_s < self._housekeeping_s:
            return []
        self._housekeeping_s = now_s + _HOUSEKEEPING_INTERVAL_S
        commands: list[Command] = []
        if self._collectors and self._online:
            commands += [Republish(known) for known in self._outcomes.due(now_s)]
        gone = self._outcomes.trim(now_s)
        return [*commands, DeleteOutcomes(gone)] if gone else commands

    def _restored(self, restored: JournalRestored, now_s: float) -> list[Command]:
        for outcome in restored.outcomes:
            self._outcomes.restore(outcome, now_s)
        for record in restored.requests:
            known = record.request.request_id
            if known in self._active or known in self._outcomes:
                continue
            self._active[known] = PendingRequest(
                record.request, now_s - record.age_s, attempt=record.attempt, waiting_since_s=now_s
            )
            self._wait(known)
        return self._pump(now_s)


def _devices(route: PlanRoute) -> set[str]:
    return {stage.device for stage in route.stages}
