"""Candidate of one stream: the strategy's routes, the plan in force, and the user's changes since its choice."""

from collections.abc import Sequence
from dataclasses import dataclass

from planning.problem.problem import Problem
from planning.strategies.registry import traits_of
from services.planner.decisions.causes import Cause
from services.planner.decisions.committed_routes import broken_constraints, burst_jobs, same_routes
from services.planner.decisions.damping import Departure
from services.planner.decisions.measured_guard import TakeBack
from services.planner.problems.problem_from_snapshot import own_problem
from shared.messages.events import RerouteCause
from shared.messages.models import Manifest
from shared.messages.streams import PlanRoute
from shared.policy import Policy


@dataclass(frozen=True, slots=True)
class PlanInForce:
    """A plan that a stream runs or prepares, with the problem and the policy for which it was chosen.

    Attributes:
        epoch: its number; 0 until it is committed.
        model: SHA-256 of the model.
        source: device at which requests arise.
        live: as committed.
        routes: as committed.
        policy: under which it was last judged.
        problem: for which it was chosen, of all streams planned together; None if that was before the planner's start.
        jobs: as committed.
        version: of the manifest under which devices run it; empty in plans of old planners.
    """

    epoch: int
    model: str
    source: str
    live: bool
    routes: tuple[PlanRoute, ...]
    policy: Policy
    problem: Problem | None = None
    jobs: int = 1
    version: str = ""

    @property
    def together(self) -> tuple[str, ...]:
        """The streams that were planned together, itself included; empty if that is not known."""
        return () if self.problem is None else tuple(stream.name for stream in self.problem.streams)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One stream's part of a strategy's answer, beside the plan that it would replace.

    Attributes:
        problem: of the stream alone, as it was solved: without choices that devices have rejected, and perhaps without
            a deadline that cannot be met.
        policy: of the stream, as its user has set it.
        routes: the strategy's choice.
        strategy: name of the strategy.
        live: as the stream is declared.
        present: the plan in force; None for a stream without a plan.
        departures: routes that the stream has left lately.
        manifest: of the stream's model, now.
        take_back: the last reroute, if it has made the measured latency worse.
    """

    problem: Problem
    policy: Policy
    routes: tuple[PlanRoute, ...]
    strategy: str
    live: bool
    present: PlanInForce | None = None
    departures: Sequence[Departure] = ()
    manifest: Manifest | None = None
    take_back: TakeBack | None = None

    @property
    def is_redescribed(self) -> bool:
        """Whether the manifest has changed since the plan in force was prepared, so that devices run an earlier one."""
        if self.present is None or self.manifest is None or not self.present.version:
            return False
        return self.present.version != self.manifest.version()

    @property
    def stream(self) -> str:
        """Name of the stream."""
        return self.problem.streams[0].name

    @property
    def moves(self) -> bool:
        """True if requests would run in another way than now."""
        in_order = burst_jobs(self.problem) > 1
        return self.present is None or not same_routes(self.present.routes, self.routes, in_order=in_order)


def user_change(present: PlanInForce, candidate: Candidate) -> Cause | None:
    """Return what the user has changed since the plan in force was judged; None if nothing."""
    stream = candidate.problem.streams[0]
    # The most drastic change first: only one is named, and routes of another model cannot be compared at all.
    if present.model != stream.model:
        return Cause(RerouteCause.STREAM_CHANGED, f"the stream's model is {stream.model[:12]} now")
    if candidate.is_redescribed:
        return Cause(RerouteCause.STREAM_CHANGED, "the description of the model changed")
    if (present.source, present.live) != (stream.source, candidate.live):
        return Cause(RerouteCause.STREAM_CHANGED, "the stream's declaration changed")
    if present.policy != candidate.policy:
        return Cause(RerouteCause.POLICY_CHANGED, "policy changed")
    if present.jobs != burst_jobs(candidate.problem):
        return Cause(RerouteCause.STREAM_CHANGED, f"a burst has {burst_jobs(candidate.problem)} requests now")
    return None


def strategy_chosen(candidate: Candidate) -> bool:
    """Return whether the user has now chosen a strategy by name. Its plan counts even if another would be better."""
    present, name = candidate.present, candidate.policy.strategy
    if present is None or name == present.policy.strategy:
        return False
    traits = traits_of(name)
    return traits is None or not traits.picks_among_others


def settings_changed(candidate: Candidate) -> bool:
    """Return whether settings that the committed plan carries have changed."""
    present = candidate.present
    if present is None:
        return False
    # Executors read these from the committed plan. Gain and cooldown stay with the planner.
    old, new = present.policy, candidate.policy
    return (
        present.source,
        present.live,
        present.jobs,
        old.queue,
        old.max_in_flight,
        old.retry_limit,
        old.deadline_ms,
        old.transport,
    ) != (
        candidate.problem.streams[0].source,
        candidate.live,
        burst_jobs(candidate.problem),
        new.queue,
        new.max_in_flight,
        new.retry_limit,
        new.deadline_ms,
        new.transport,
    )


def is_late(candidate: Candidate, whole: Problem) -> bool:
    """Return whether the present routes miss the deadline, the only broken constraint under which they stay in force.

    Args:
        candidate: of the stream.
        whole: the present problem, with every choice open.
    """
    present = candidate.present
    return present is not None and bool(broken_constraints(own_problem(whole, candidate.stream), present.routes))
