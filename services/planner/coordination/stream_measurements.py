"""Measured latencies of one stream, the trial of its last reroute, and whether that is to be taken back."""

from collections.abc import Sequence

from planning.problem.problem import Problem
from services.planner.coordination.effects import Correct, Replan, Step
from services.planner.coordination.invariants import require
from services.planner.decisions.candidates import PlanInForce
from services.planner.decisions.measured_guard import (
    MeasuredLatency,
    RerouteTrial,
    TakeBack,
    can_be_judged,
    judge,
    recent,
)
from services.planner.decisions.replan import RerouteDecision
from shared.messages.events import RerouteCause
from shared.messages.streams import MeasuredLatencies
from shared.policy import Objective

# Reroutes that nobody chose for their latency: the user wanted them, or nothing else could run.
_NOT_CHOSEN = frozenset(
    {
        RerouteCause.FIRST_PLAN,
        RerouteCause.POLICY_CHANGED,
        RerouteCause.DEVICE_LOST,
        RerouteCause.MEASURED,
    }
)


class StreamMeasurements:
    """What the source of a stream measures, beside what was predicted.

    Only streams that are planned for themselves, for the latency of single requests, are guarded: of others the cost is
    no latency of one stream.

    Invariant: a trial belongs to the plan in force, and a reroute that is to be taken back has no trial.
    """

    def __init__(self, stream: str) -> None:
        """Begin without measurements.

        Args:
            stream: its name.
        """
        self._stream = stream
        self._latencies: tuple[MeasuredLatency, ...] = ()
        self._present_ms: float | None = None
        self._problem: Problem | None = None
        self._trial: RerouteTrial | None = None
        self._take_back: TakeBack | None = None

    @property
    def take_back(self) -> TakeBack | None:
        """The last reroute, if it has made the latency worse."""
        return self._take_back

    @property
    def trial(self) -> RerouteTrial | None:
        """The reroute whose effect is being measured."""
        return self._trial

    def predicted(self, problem: Problem, cost: float | None) -> None:
        """Note that the stream was planned: the present cost of the routes in force, by which latencies are judged.

        A reroute that could not be taken back then stays.
        """
        self._take_back = None
        is_guarded = len(problem.streams) == 1 and problem.policy.objective is Objective.LATENCY
        self._present_ms = cost if is_guarded else None
        self._problem = problem if is_guarded else None

    def committed(self, reroute: RerouteDecision, before: PlanInForce | None, after: PlanInForce, now_s: float) -> None:
        """Begin the trial of a reroute that was chosen for its latency."""
        latencies = recent(self._latencies, now_s)
        is_chosen = reroute.cause.cause not in _NOT_CHOSEN and self._present_ms is not None
        self._trial = self._take_back = None
        self._latencies = ()
        if before is None or not is_chosen or before.model != after.model or reroute.cost_before is None:
            return
        if can_be_judged(latencies, reroute.cost_before, reroute.cost_after):
            self._trial = RerouteTrial(
                after.epoch, before.routes, after.routes, latencies, reroute.cost_before, reroute.cost_after, now_s
            )

    def seen(self, measured: MeasuredLatencies, present: PlanInForce | None, now_s: float) -> Sequence[Step]:
        """Take latencies of the plan in force; return the steps if they end the trial of its reroute."""
        if present is None or measured.epoch != present.epoch or not self._present_ms or self._problem is None:
            return []
        added = [MeasuredLatency(now_s, each, self._present_ms) for each in measured.latencies_ms if each > 0]
        self._latencies = recent((*self._latencies, *added), now_s)
        if self._trial is None or self._trial.epoch != measured.epoch:
            return []
        times = {each.device: each.took_ms for each in measured.devices}
        trial = self._trial.measured([each.latency_ms for each in added], times)
        match judge(trial, self._problem, present.policy.min_gain, now_s):
            case TakeBack() as take_back:
                self._trial, self._take_back = None, take_back
                return [Correct(take_back.corrections), Replan(self._stream, now_s)]
            case still:
                self._trial = still
                return []

    def validate(self) -> None:
        """Check the invariant of the class.

        Raises:
            InvariantError: it is broken.
        """
        subject = f"stream {self._stream}"
        require(self._trial is None or self._take_back is None, subject, "a reroute to be taken back has no trial")
