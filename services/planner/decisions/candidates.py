"""What a stream runs and what it could run, between which is decided; and what its user has changed meanwhile. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from planning.problem.problem import Problem
from services.planner.decisions.causes import Cause
from services.planner.decisions.committed_routes import broken_constraints, burst_jobs, same_routes
from services.planner.decisions.damping import Departure
from services.planner.problems.problem_from_snapshot import own_problem
from shared.messages.events import RerouteCause
from shared.messages.streams import PlanRoute
from shared.policy import Policy

AUTO = "auto"
"""The strategy that stands for whichever plans best."""


@dataclass(frozen=True, slots=True)
class InForce:
    """The plan that a stream runs, and what it was chosen for.

    Attributes:
        epoch: its number.
        model: SHA-256 of the model.
        source: where requests arise.
        live: as committed.
        routes: as committed.
        policy: under which it was last judged.
        problem: for which it was chosen; None if that was before the planner's last start.
        jobs: as committed.
    """

    epoch: int
    model: str
    source: str
    live: bool
    routes: tuple[PlanRoute, ...]
    policy: Policy
    problem: Problem | None = None
    jobs: int = 1

    @property
    def together(self) -> tuple[str, ...]:
        """The streams that it was planned together with, itself included, as far as that is known."""
        return () if self.problem is None else tuple(stream.name for stream in self.problem.streams)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A strategy's answer for one stream in the present state, ready to run.

    Attributes:
        problem: of the stream alone, as it was solved: without choices that devices have rejected, and perhaps without
            a deadline that cannot be met.
        policy: the stream's policy, as the user wants it.
        routes: what the strategy chose.
        strategy: its name.
        live: as the stream is declared.
    """

    problem: Problem
    policy: Policy
    routes: tuple[PlanRoute, ...]
    strategy: str
    live: bool


@dataclass(frozen=True, slots=True)
class Contender:
    """A stream about which is decided: what it runs (None: nothing yet), what it could run, what it has left lately."""

    present: InForce | None
    candidate: Candidate
    departures: Sequence[Departure] = ()

    @property
    def stream(self) -> str:
        """Its name."""
        return self.candidate.problem.streams[0].name

    @property
    def moves(self) -> bool:
        """Its requests would run in another way than now."""
        in_order = burst_jobs(self.candidate.problem) > 1
        present, routes = self.present, self.candidate.routes
        return present is None or not same_routes(present.routes, routes, in_order=in_order)


@dataclass(frozen=True, slots=True)
class States:
    """The present state twice, with the same streams and the same policy.

    Attributes:
        solved: without choices that devices have rejected: what the candidates were chosen for.
        whole: with every choice open: what the present routes are judged by.
    """

    solved: Problem
    whole: Problem


def user_change(present: InForce, candidate: Candidate) -> Cause | None:
    """Return what the user has changed since the plan in force was judged."""
    stream = candidate.problem.streams[0]
    if present.model != stream.model:
        return Cause(RerouteCause.STREAM_CHANGED, f"the stream's model is {stream.model[:12]} now")
    if (present.source, present.live) != (stream.source, candidate.live):
        return Cause(RerouteCause.STREAM_CHANGED, "the stream's declaration changed")
    if present.policy != candidate.policy:
        return Cause(RerouteCause.POLICY_CHANGED, "policy changed")
    if present.jobs != burst_jobs(candidate.problem):
        return Cause(RerouteCause.STREAM_CHANGED, f"a burst has {burst_jobs(candidate.problem)} requests now")
    return None


def strategy_chosen(each: Contender) -> bool:
    """Say whether the user now wants what a certain strategy plans, even if another would plan better."""
    return each.present is not None and each.candidate.policy.strategy not in (AUTO, each.present.policy.strategy)


def settings_changed(each: Contender) -> bool:
    """Say whether the committed plan carries settings that are no longer wanted."""
    present, candidate = each.present, each.candidate
    if present is None:
        return False
    old, new = present.policy, candidate.policy
    return (
        present.source,
        present.live,
        present.jobs,
        old.queue,
        old.max_in_flight,
        old.retry_limit,
        old.deadline_ms,
    ) != (
        candidate.problem.streams[0].source,
        candidate.live,
        burst_jobs(candidate.problem),
        new.queue,
        new.max_in_flight,
        new.retry_limit,
        new.deadline_ms,
    )


def is_late(each: Contender, states: States) -> bool:
    """Say whether the present routes break a constraint that they can go on with: a deadline."""
    return each.present is not None and bool(
        broken_constraints(own_problem(states.whole, each.stream), each.present.routes)
    )
