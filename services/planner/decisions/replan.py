"""Whether better plans are worth a reroute for streams that are planned together: gain, cooldown, damping. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from planning.cost.constraints import memory_violations
from planning.problem.plan import Constraint
from services.planner.decisions.candidates import (
    Contender,
    States,
    is_late,
    settings_changed,
    strategy_chosen,
    user_change,
)
from services.planner.decisions.causes import Cause, find_cause
from services.planner.decisions.committed_routes import (
    broken_constraints,
    describe_cost,
    describe_routes,
    joint_cost,
    to_joint_plan,
)
from services.planner.decisions.damping import last_departure_s, required_gain
from services.planner.problems.problem_from_snapshot import own_problem
from services.planner.problems.snapshot import FleetSnapshot
from shared.messages.events import RerouteCause
from shared.messages.streams import PlanRoute

MAX_NAMES = 3
"""More streams than these are counted in a reason, not named."""


@dataclass(frozen=True, slots=True)
class Keep:
    """The present plan stays."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A reroute would pay, but not before this moment."""

    until_s: float
    cause: Cause


@dataclass(frozen=True, slots=True)
class RerouteDecision:
    """Change to other routes, or to other settings on the same ones.

    Attributes:
        cause: kind, text, and the monitor's clock.
        reason: one line for people: the cause, and the cost before and after.
        routes: the new ones.
        cost_before: of the routes in force in the present state, of all streams that are planned together; None if
            this stream has none or its cannot run.
        cost_after: the same with the new routes.
        together: all streams whose costs these are, by name; empty for a stream that is planned for itself.
    """

    cause: Cause
    reason: str
    routes: tuple[PlanRoute, ...]
    cost_before: float | None
    cost_after: float
    together: tuple[str, ...] = ()


Decision = Keep | Hold | RerouteDecision


def decide(
    contenders: Sequence[Contender], states: States, snapshot: FleetSnapshot, now_s: float
) -> dict[str, Decision]:
    """Say of every stream of a problem whether it shall leave its present routes; most problems have one stream.

    A stream moves at once, whatever the gain, when it has no routes or they cannot run any more. Those of the others
    are then compared, by the objective over all streams together, with what was chosen for them. They change

    - at once, if that gains at all, when the user has changed one of the streams or their policies; even for the worse
      when the user has chosen another strategy by name;
    - for a missed deadline whatever the gain, after the cooldown;
    - otherwise when the present cost exceeds the new one by more than the ``min_gain`` of their policies, after the
      cooldown. Going back to routes that were left within the damping window needs twice the gain for every such
      return, so that noise around a tie dies out (compare route flap damping, RFC 2439).

    Args:
        contenders: the streams of the problem.
        states: the present state, and the problem that was solved.
        snapshot: says when monitors reported what.
        now_s: planner's clock.
    """
    forced = _forced(contenders, states, snapshot)
    chosen = {each.stream: each.candidate.routes for each in contenders}
    staying = _staying(contenders, forced)
    after = joint_cost(states.solved, chosen)
    free = [each for each in contenders if each.stream not in forced]
    before = joint_cost(states.whole, staying) if free else after
    compared = _Comparison(states, staying, chosen, before, after)
    verdicts = _verdicts(free, _user_changes(contenders), compared, snapshot, now_s)
    cost = after if any(isinstance(each, _Move) and each.better for each in verdicts.values()) else before
    names = tuple(each.stream for each in contenders) if len(contenders) > 1 else ()
    decisions: dict[str, Decision] = {}
    for each in contenders:
        verdict = verdicts.get(each.stream)
        if verdict is None:
            routes = each.candidate.routes
            decisions[each.stream] = _reroute(forced[each.stream], each, routes, (None, cost), names)
        elif isinstance(verdict, _Move):
            decisions[each.stream] = _reroute(verdict.cause, each, verdict.routes, (before, cost), names)
        else:
            decisions[each.stream] = verdict
    return decisions


@dataclass(frozen=True, slots=True)
class _Move:
    """Change to these routes; ``better`` if they are those that were chosen for all."""

    cause: Cause
    routes: tuple[PlanRoute, ...]
    better: bool


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What all streams would run, and what that would cost: without those that are free to stay, and with them."""

    states: States
    staying: Mapping[str, tuple[PlanRoute, ...]]
    chosen: Mapping[str, tuple[PlanRoute, ...]]
    before: float
    after: float

    def cause(self, moved: Sequence[Contender], snapshot: FleetSnapshot) -> Cause:
        """Return the change since the routes in force were chosen that speaks most for the new ones."""
        known = (each.present.problem for each in moved if each.present is not None)
        basis = next((problem for problem in known if problem is not None), self.states.whole)
        return find_cause(basis, self.states.whole, self.staying, self.chosen, snapshot)


def _forced(contenders: Sequence[Contender], states: States, snapshot: FleetSnapshot) -> dict[str, Cause]:
    """Return the streams that cannot stay as they are, and why."""
    causes = {each.stream: _force(each, states, snapshot) for each in contenders}
    forced = {stream: cause for stream, cause in causes.items() if cause is not None}
    if len(contenders) > 1:
        too_much = memory_violations(states.whole, to_joint_plan(states.whole, _staying(contenders, forced)))
        for each in contenders:
            if too_much and each.moves and each.stream not in forced:
                forced[each.stream] = Cause(RerouteCause.STREAM_CHANGED, too_much[0].message)
    return forced


def _force(each: Contender, states: States, snapshot: FleetSnapshot) -> Cause | None:
    present, candidate = each.present, each.candidate
    if present is None:
        return Cause(RerouteCause.FIRST_PLAN, "first plan")
    changed = user_change(present, candidate)
    if present.model != candidate.problem.streams[0].model:
        return changed
    whole = own_problem(states.whole, each.stream)
    broken = broken_constraints(whole, present.routes)
    if all(violation.constraint is Constraint.DEADLINE for violation in broken):
        return None
    if changed is not None:
        cause = changed
    else:
        before = whole if present.problem is None else own_problem(present.problem, each.stream)
        routes = {each.stream: present.routes}, {each.stream: candidate.routes}
        cause = find_cause(before, whole, *routes, snapshot)
    return cause if cause.cause is RerouteCause.DEVICE_LOST else replace(cause, text=broken[0].message)


def _staying(contenders: Sequence[Contender], forced: Mapping[str, Cause]) -> dict[str, tuple[PlanRoute, ...]]:
    """Return what runs if only those move that have to."""
    return {
        each.stream: each.candidate.routes if each.present is None or each.stream in forced else each.present.routes
        for each in contenders
    }


def _verdicts(
    free: Sequence[Contender],
    changes: Mapping[str, Cause],
    compared: _Comparison,
    snapshot: FleetSnapshot,
    now_s: float,
) -> dict[str, Keep | Hold | _Move]:
    """Say of the streams whose routes can stay whether they shall."""
    verdicts: dict[str, Keep | Hold | _Move] = {each.stream: Keep() for each in free}
    moved = [each for each in free if each.moves]
    by_name = any(strategy_chosen(each) for each in free)
    if changes and moved and (by_name or compared.after < compared.before):
        first, cause = next(iter(changes.items()))
        told = replace(cause, text=f"stream {first}: {cause.text}")
        for each in moved:
            verdicts[each.stream] = _Move(changes.get(each.stream, told), each.candidate.routes, better=True)
    elif moved and _pays(moved, compared, now_s):
        cause = compared.cause(moved, snapshot)
        ready_at_s = max(map(_ready_at_s, moved))
        for each in moved:
            move = _Move(cause, each.candidate.routes, better=True)
            verdicts[each.stream] = Hold(ready_at_s, cause) if now_s < ready_at_s else move
    for each in free:
        if each.stream in changes and settings_changed(each) and not isinstance(verdicts[each.stream], _Move):
            takes = len(compared.chosen) == 1 or is_late(each, compared.states)
            routes = each.candidate.routes if takes else compared.staying[each.stream]
            verdicts[each.stream] = _Move(changes[each.stream], routes, better=takes)
    return verdicts


def _pays(moved: Sequence[Contender], compared: _Comparison, now_s: float) -> bool:
    if any(is_late(each, compared.states) for each in moved):
        return True
    wanted = max(
        required_gain(each.present.policy, each.candidate.routes, each.departures, now_s)
        for each in moved
        if each.present is not None
    )
    gain = compared.before - compared.after
    return gain > 0 and gain > compared.after * wanted


def _ready_at_s(each: Contender) -> float:
    cooldown_ms = 0.0 if each.present is None else each.present.policy.cooldown_ms
    return last_departure_s(each.departures) + cooldown_ms / 1000


def _user_changes(contenders: Sequence[Contender]) -> dict[str, Cause]:
    causes = {each.stream: user_change(each.present, each.candidate) for each in contenders if each.present is not None}
    return {stream: cause for stream, cause in causes.items() if cause is not None}


def _reroute(
    cause: Cause,
    each: Contender,
    routes: tuple[PlanRoute, ...],
    costs: tuple[float | None, float],
    together: tuple[str, ...],
) -> RerouteDecision:
    objective, (before, after) = each.candidate.problem.policy.objective, costs
    told = describe_cost(objective, after)
    told = f"{describe_routes(routes)}, {told}" if before is None else f"{describe_cost(objective, before)} -> {told}"
    fellows = [name for name in together if name != each.stream]
    if fellows:
        several = ", ".join(fellows) if len(fellows) <= MAX_NAMES else f"{len(fellows)} other streams"
        told = f"{told} together with {several}"
    return RerouteDecision(cause, f"{cause.text}: {told}", routes, before, after, together)
