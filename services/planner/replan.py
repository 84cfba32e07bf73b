"""Whether a better plan is worth a reroute: gain, cooldown, and damping against flapping. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from services.planner.causes import Cause, find_cause
from services.planner.routes import broken_constraints, burst_jobs, cost_of, describe_cost, describe_routes, same_routes
from services.planner.snapshot import Snapshot
from shared.messages.events import RerouteCause
from shared.messages.streams import PlanRoute
from shared.plan.plan import Constraint
from shared.plan.policy import Policy
from shared.plan.problem import Problem

DAMPING_WINDOW_S = 60.0
"""How long a route that was left is remembered."""
LARGEST_REQUIRED_GAIN = 0.5
LEAST_DAMPED_GAIN = 0.01
AUTO = "auto"
"""The strategy that stands for whichever plans best."""

_Item = TypeVar("_Item")


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


@dataclass(frozen=True, slots=True)
class Departure:
    """Routes that were left, when, and whether the reroute led back to routes left shortly before."""

    at_s: float
    routes: tuple[PlanRoute, ...]
    returned: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A strategy's answer for the present problem, ready to run.

    Attributes:
        problem: that was solved: without choices that devices have rejected, and perhaps without a deadline that cannot
            be met.
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
class Keep:
    """The present plan stays."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A reroute would pay, but not before this moment."""

    until_s: float
    cause: Cause


@dataclass(frozen=True, slots=True)
class Reroute:
    """Change to the candidate.

    Attributes:
        cause: kind, text, and the monitor's clock.
        reason: one line for people: the cause, and the cost before and after.
        cost_before: of the present routes in the present state; None if there are none or they cannot run.
        cost_after: of the chosen routes.
    """

    cause: Cause
    reason: str
    cost_before: float | None
    cost_after: float


Decision = Keep | Hold | Reroute


def decide(
    present: InForce | None,
    candidate: Candidate,
    problem: Problem,
    snapshot: Snapshot,
    departures: Sequence[Departure],
    now_s: float,
) -> Decision:
    """Say whether the candidate shall replace the present plan.

    At once, whatever the gain, when the present routes cannot run any more or the user has changed stream or policy;
    even for the worse when the user has chosen another strategy by name.
    For a missed deadline: whatever the gain, after the cooldown. Otherwise when the present cost exceeds the
    candidate's by more than the policy's ``min_gain``, after the cooldown. Going back to routes that were left within
    `DAMPING_WINDOW_S` needs twice the gain for every such return, so that noise around a tie dies out (compare route
    flap damping, RFC 2439).

    Args:
        present: what the stream runs; None for its first plan.
        candidate: the best answer for the present state.
        problem: the present state with every choice open: what the present routes are judged by. Same policy as the
            candidate's problem.
        snapshot: says when monitors reported what.
        departures: routes left lately, oldest first.
        now_s: planner's clock.
    """
    cost_after = cost_of(candidate.problem, candidate.routes)
    if present is None:
        return _reroute(Cause(RerouteCause.FIRST_PLAN, "first plan"), candidate, None, cost_after)
    changed = _user_change(present, candidate)
    same = same_routes(present.routes, candidate.routes, in_order=burst_jobs(candidate.problem) > 1)
    if present.model != candidate.problem.streams[0].model:
        return _reroute(changed or Cause(RerouteCause.STREAM_CHANGED, "model changed"), candidate, None, cost_after)
    broken = broken_constraints(problem, present.routes)
    if any(each.constraint is not Constraint.DEADLINE for each in broken):
        cause = changed or _cause(present, candidate, problem, snapshot)
        if cause.cause is not RerouteCause.DEVICE_LOST:
            cause = replace(cause, text=broken[0].message)
        return _reroute(cause, candidate, None, cost_after)
    cost_before = cost_of(problem, present.routes)
    wanted = not same and (_strategy_chosen(present, candidate) or cost_after < cost_before)
    if changed is not None and (wanted or _settings_changed(present, candidate)):
        return _reroute(changed, candidate, cost_before, cost_after)
    if same or not (broken or _pays(present, candidate, cost_before, cost_after, departures, now_s)):
        return Keep()
    cause = _cause(present, candidate, problem, snapshot)
    ready_at_s = _last(departures) + present.policy.cooldown_ms / 1000
    if now_s < ready_at_s:
        return Hold(ready_at_s, cause)
    return _reroute(cause, candidate, cost_before, cost_after)


def required_gain(policy: Policy, routes: Sequence[PlanRoute], departures: Sequence[Departure], now_s: float) -> float:
    """Return the relative gain that a reroute to ``routes`` must promise."""
    recent = [departure for departure in departures if now_s - departure.at_s <= DAMPING_WINDOW_S]
    doublings = sum(departure.returned for departure in recent) + is_return(routes, departures, now_s)
    if not doublings:
        return policy.min_gain
    damped = max(policy.min_gain, LEAST_DAMPED_GAIN) * 2.0**doublings
    return max(policy.min_gain, min(LARGEST_REQUIRED_GAIN, damped))


def is_return(routes: Sequence[PlanRoute], departures: Sequence[Departure], now_s: float) -> bool:
    """Say whether ``routes`` were left within the damping window."""
    return any(
        now_s - departure.at_s <= DAMPING_WINDOW_S and same_routes(departure.routes, routes) for departure in departures
    )


def remember(departures: Sequence[Departure], departure: Departure) -> tuple[Departure, ...]:
    """Return the departures within the damping window, the new one last."""
    kept = (each for each in departures if departure.at_s - each.at_s <= DAMPING_WINDOW_S)
    return (*kept, departure)


def _pays(
    present: InForce,
    candidate: Candidate,
    cost_before: float,
    cost_after: float,
    departures: Sequence[Departure],
    now_s: float,
) -> bool:
    gain = cost_before - cost_after
    return gain > 0 and gain > cost_after * required_gain(present.policy, candidate.routes, departures, now_s)


def _user_change(present: InForce, candidate: Candidate) -> Cause | None:
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


def _strategy_chosen(present: InForce, candidate: Candidate) -> bool:
    """Say whether the user now wants what a certain strategy plans, even if another would plan better."""
    return candidate.policy.strategy not in (AUTO, present.policy.strategy)


def _settings_changed(present: InForce, candidate: Candidate) -> bool:
    """Say whether the committed plan carries settings that are no longer wanted."""
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


def _cause(present: InForce, candidate: Candidate, problem: Problem, snapshot: Snapshot) -> Cause:
    return find_cause(present.problem or problem, problem, present.routes, candidate.routes, snapshot)


def _reroute(cause: Cause, candidate: Candidate, cost_before: float | None, cost_after: float) -> Reroute:
    objective = candidate.problem.policy.objective
    after = describe_cost(objective, cost_after)
    if cost_before is None:
        costs = f"{describe_routes(candidate.routes)}, {after}"
    else:
        costs = f"{describe_cost(objective, cost_before)} -> {after}"
    return Reroute(cause, f"{cause.text}: {costs}", cost_before, cost_after)


def _last(departures: Sequence[Departure]) -> float:
    return departures[-1].at_s if departures else float("-inf")
