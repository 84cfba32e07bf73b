"""What the planner keeps of a stream between two messages."""

from dataclasses import dataclass, field

from planning.problem.plan import Infeasible
from planning.problem.problem import Problem
from services.planner.coordination.epochs import EpochPhase, Epochs
from services.planner.decisions.candidates import Candidate, InForce
from services.planner.decisions.causes import Cause
from services.planner.decisions.committed_routes import burst_jobs
from services.planner.decisions.damping import Departure
from services.planner.decisions.replan import RerouteDecision
from services.planner.decisions.switching_ranges import Survey
from services.planner.problems.planning_jobs import Answer
from services.planner.problems.policies import PolicyRequest
from shared.messages import events
from shared.messages.alternatives import Alternatives
from shared.messages.streams import CommittedPlan, StreamState, StreamStatus

MAX_REROUTES = 8


@dataclass(frozen=True, slots=True)
class PolicyVerdict:
    """What became of the policy that was judged last; of one that is accepted, reasons to think again."""

    revision: str = ""
    accepted: bool = True
    reasons: tuple[str, ...] = ()


@dataclass(slots=True)
class StreamRecord:
    """A stream as the planner knows it.

    Attributes:
        epochs: what is in force and what is proposed.
        declared: somebody wants the stream.
        in_force: the plan in force with what it was chosen for.
        next_in_force: the same of the proposal.
        departures: routes left lately.
        verdict: on the last policy.
        policy_document: the policy in force as it is published again; empty for the default one.
        pending: a policy that waits to be judged; only the newest.
        waiting: what is missing before the stream can be planned.
        infeasible: what cannot be met.
        infeasible_subjects: the kinds of it, without numbers, so that noise is not news.
        overload: what the routes in force do not keep up with.
        held: why a reroute is due that waits for the cooldown.
        rejection: why the last proposal was rejected; empty when the plan since then is settled.
        solved: the problem solved last, and the answer; kept with the first of the streams that are planned together.
        published: the status published last.
        reroutes: the last `MAX_REROUTES` since the planner's start, oldest first.
        surveyed: the plan and the problem for which thresholds were last computed.
        alternatives: the thresholds published last.
        survey_at_s: thresholds are not computed again before.
    """

    epochs: Epochs
    declared: bool = False
    in_force: InForce | None = None
    next_in_force: InForce | None = None
    departures: tuple[Departure, ...] = ()
    verdict: PolicyVerdict = field(default_factory=PolicyVerdict)
    policy_document: bytes = b""
    pending: PolicyRequest | None = None
    waiting: tuple[str, ...] = ()
    infeasible: tuple[str, ...] = ()
    infeasible_subjects: frozenset[tuple[str, str]] = frozenset()
    overload: str = ""
    held: Cause | None = None
    rejection: str = ""
    solved: tuple[Problem, Answer] | None = None
    published: StreamStatus | None = None
    reroutes: tuple[events.Reroute, ...] = ()
    surveyed: Survey | None = None
    alternatives: Alternatives | None = None
    survey_at_s: float = 0.0

    @property
    def is_news(self) -> bool:
        """Somebody waits for a word on the stream, or on a policy for it, that has not been published."""
        return (self.declared or self.verdict != PolicyVerdict()) and self.status() != self.published

    def status(self) -> StreamStatus:
        """Return what is said of the stream."""
        state = self._state()
        crowded = (self.overload,) if self.overload and state is StreamState.RUNNING else ()
        return StreamStatus(
            stream=self.epochs.stream,
            state=state,
            reasons=self.waiting or self.infeasible or crowded,
            epoch=0 if self.epochs.committed is None else self.epochs.committed.epoch,
            policy_revision=self.verdict.revision,
            policy_accepted=self.verdict.accepted,
            policy_reasons=self.verdict.reasons,
        )

    def _state(self) -> StreamState:
        if self.waiting:
            return StreamState.WAITING
        if self.infeasible:
            return StreamState.INFEASIBLE
        return (
            StreamState.RUNNING
            if self.epochs.phase in (EpochPhase.RUNNING, EpochPhase.REROUTING)
            else StreamState.PLANNING
        )


def plan_message(candidate: Candidate, reroute: RerouteDecision, now_s: float) -> CommittedPlan:
    """Return the plan to propose; its epoch and time of commitment are filled in later."""
    stream, policy = candidate.problem.streams[0], candidate.policy
    return CommittedPlan(
        stream=stream.name,
        epoch=0,
        model=stream.model,
        source=stream.source,
        strategy=candidate.strategy,
        routes=reroute.routes,
        queue=policy.queue.value,
        max_in_flight=policy.max_in_flight,
        retry_limit=policy.retry_limit,
        deadline_ms=policy.deadline_ms,
        live=candidate.live,
        jobs=burst_jobs(candidate.problem),
        reason=reroute.reason,
        trigger_at_s=now_s if reroute.cause.at_s is None else reroute.cause.at_s,
    )


def in_force_of(plan: CommittedPlan, candidate: Candidate, problem: Problem) -> InForce:
    """Return a plan with what it was chosen for: the whole problem, of all streams that were planned together."""
    return InForce(
        plan.epoch,
        plan.model,
        plan.source,
        plan.live,
        plan.routes,
        policy=candidate.policy,
        problem=problem,
        jobs=plan.jobs,
    )


def reroute_message(
    plan: CommittedPlan, reroute: RerouteDecision, previous: CommittedPlan | None, objective: str
) -> events.Reroute:
    """Return the data of the event that says why the route has changed."""
    return events.Reroute(
        stream=plan.stream,
        epoch=plan.epoch,
        cause=reroute.cause.cause,
        reason=reroute.reason,
        previous=() if previous is None else previous.routes,
        chosen=plan.routes,
        objective=objective,
        predicted_before=reroute.cost_before,
        predicted_after=reroute.cost_after,
        together=reroute.together,
        trigger_at_s=plan.committed_at_s if plan.trigger_at_s is None else plan.trigger_at_s,
        committed_at_s=plan.committed_at_s,
    )


def subjects(infeasible: Infeasible) -> frozenset[tuple[str, str]]:
    """Return which constraints of what cannot be met, without numbers."""
    return frozenset((each.constraint.value, each.subject) for each in infeasible.reasons)
