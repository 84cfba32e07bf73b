"""Decision whether better plans are worth a reroute: gain, cooldown, and damping of route flaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from planning.cost.constraints import memory_violations
from planning.problem.plan import Constraint
from planning.problem.problem import Problem
from services.planner.decisions.candidates import (
    Candidate,
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
from services.planner.decisions.cost_history import NO_HISTORY, CostHistory, key_of
from services.planner.decisions.damping import last_departure_s, required_gain
from services.planner.problems.problem_from_snapshot import own_problem
from services.planner.problems.snapshot import FleetSnapshot
from shared.messages.events import RerouteCause
from shared.messages.streams import PlanRoute

# A reason names that many other streams, and gives the number of more.
MAX_NAMES = 3


@dataclass(frozen=True, slots=True)
class Keep:
    """The present plan stays."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A reroute would pay, but the cooldown is not over before ``until_s`` (planner's clock)."""

    until_s: float
    cause: Cause


@dataclass(frozen=True, slots=True)
class RerouteDecision:
    """Change to other routes, or to other settings on the same ones.

    Attributes:
        cause: kind, text, and the monitor's clock.
        reason: one line for people: the cause, and the cost before and after.
        routes: the new ones.
        cost_before: of the routes in force, in the present state, over all streams planned together. None if this
            stream has no routes that can run.
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
    candidates: Sequence[Candidate],
    solved: Problem,
    whole: Problem,
    snapshot: FleetSnapshot,
    now_s: float,
    history: CostHistory = NO_HISTORY,
) -> dict[str, Decision]:
    """Decide for every stream of a problem whether it leaves its present routes; most problems have one stream.

    A stream without routes that can run moves immediately, whatever the gain. The routes of the others are then
    compared with the candidates, by the objective over all streams together. They change

    - immediately, for any gain, when the user has changed one of the streams or their policies;
    - immediately, even for a loss, when the user has chosen another strategy by name;
    - immediately, back to the routes before, when the last reroute has made the measured latency worse;
    - for a missed deadline whatever the gain, after the cooldown;
    - otherwise when the present cost exceeds the new one by more than the ``min_gain`` of their policies, after the
      cooldown.

    Each return to routes that were left within the damping window doubles the required gain (route flap damping, RFC
    2439). So flapping between routes of equal cost ends. While the costs of both routes swing, their means over whole
    cycles are compared instead of the present costs (`CostHistory`).

    Args:
        candidates: of the streams of the problem.
        solved: the problem for which the candidates were chosen, without choices that devices have rejected.
        whole: the same with every choice open, by which the present routes are judged.
        snapshot: source of the times at which monitors reported a change.
        now_s: planner's clock.
        history: past costs of the routes in force and of their rivals, the present ones included.
    """
    forced = _forced(candidates, whole, snapshot)
    chosen = {each.stream: each.routes for each in candidates}
    staying = _staying(candidates, forced)
    after = joint_cost(solved, chosen)
    free = [each for each in candidates if each.stream not in forced]
    before = joint_cost(whole, staying) if free else after
    swing = history.swing(key_of(staying), key_of(chosen), now_s)
    outlook = _Outlook(whole, staying, chosen, before, after, swing)
    choices = _choices(free, _user_changes(candidates), outlook, snapshot, now_s)
    # The event of every reroute gives the joint cost of the resulting routes.
    cost = after if any(isinstance(each, _Move) and each.takes_candidate for each in choices.values()) else before
    names = tuple(each.stream for each in candidates) if len(candidates) > 1 else ()
    decisions: dict[str, Decision] = {}
    for each in candidates:
        choice = choices.get(each.stream)
        if choice is None:
            decisions[each.stream] = _reroute(forced[each.stream], each, each.routes, (None, cost), names)
        elif isinstance(choice, _Move):
            decisions[each.stream] = _reroute(choice.cause, each, choice.routes, (before, cost), names)
        else:
            decisions[each.stream] = choice
    return decisions


@dataclass(frozen=True, slots=True)
class _Move:
    """Change to these routes; ``takes_candidate`` is false if only settings of the present routes change."""

    cause: Cause
    routes: tuple[PlanRoute, ...]
    takes_candidate: bool


@dataclass(frozen=True, slots=True)
class _Outlook:
    """The two alternatives for all streams together, with the cost of each by the problem's objective.

    Attributes:
        whole: the present problem, with every choice open.
        staying: routes if only the streams that cannot stay move.
        chosen: routes of the candidates.
        before: cost of ``staying``.
        after: cost of ``chosen``.
        swing: mean costs of both while they swing; None if they do not.
    """

    whole: Problem
    staying: Mapping[str, tuple[PlanRoute, ...]]
    chosen: Mapping[str, tuple[PlanRoute, ...]]
    before: float
    after: float
    swing: tuple[float, float] | None = None

    def cause(self, moved: Sequence[Candidate], snapshot: FleetSnapshot) -> Cause:
        """Return the change since the routes in force were chosen that accounts for most of the gain."""
        problems = (each.present.problem for each in moved if each.present is not None)
        basis = next((problem for problem in problems if problem is not None), self.whole)
        return find_cause(basis, self.whole, self.staying, self.chosen, snapshot)


def _forced(candidates: Sequence[Candidate], whole: Problem, snapshot: FleetSnapshot) -> dict[str, Cause]:
    """Return the streams that cannot stay as they are, and why."""
    causes = {each.stream: _force(each, whole, snapshot) for each in candidates}
    forced = {stream: cause for stream, cause in causes.items() if cause is not None}
    if len(candidates) > 1:
        # Routes that fit one by one may not fit together, once the forced streams have moved.
        overfull = memory_violations(whole, to_joint_plan(whole, _staying(candidates, forced)))
        for each in candidates:
            if overfull and each.moves and each.stream not in forced:
                forced[each.stream] = Cause(RerouteCause.STREAM_CHANGED, overfull[0].message)
    return forced


def _force(candidate: Candidate, whole: Problem, snapshot: FleetSnapshot) -> Cause | None:
    """Return why a stream cannot stay as it is; None if it can, perhaps past its deadline."""
    present, stream = candidate.present, candidate.stream
    if present is None:
        return Cause(RerouteCause.FIRST_PLAN, "first plan")
    changed = user_change(present, candidate)
    # Routes of another model, or of other blocks, cannot be compared. The same routes get a new epoch as well, under
    # which devices load the segments of the new description beside those in use.
    if present.model != candidate.problem.streams[0].model or candidate.is_redescribed:
        return changed
    own = own_problem(whole, stream)
    broken = broken_constraints(own, present.routes)
    if all(violation.constraint is Constraint.DEADLINE for violation in broken):
        return None
    if changed is not None:
        cause = changed
    else:
        before = own if present.problem is None else own_problem(present.problem, stream)
        cause = find_cause(before, own, {stream: present.routes}, {stream: candidate.routes}, snapshot)
    return cause if cause.cause is RerouteCause.DEVICE_LOST else replace(cause, text=broken[0].message)


def _staying(candidates: Sequence[Candidate], forced: Mapping[str, Cause]) -> dict[str, tuple[PlanRoute, ...]]:
    """Return the routes of all streams if only those move that have to."""
    return {
        each.stream: each.routes if each.present is None or each.stream in forced else each.present.routes
        for each in candidates
    }


def _choices(
    free: Sequence[Candidate],
    changes: Mapping[str, Cause],
    outlook: _Outlook,
    snapshot: FleetSnapshot,
    now_s: float,
) -> dict[str, Keep | Hold | _Move]:
    """Choose for the streams whose routes can stay."""
    choices: dict[str, Keep | Hold | _Move] = {each.stream: Keep() for each in free}
    moved = [each for each in free if each.moves]
    is_named = any(map(strategy_chosen, free))
    if changes and moved and (is_named or outlook.after < outlook.before):
        # The reason of a stream that moves because of a change of another stream names that stream.
        stream, cause = next(iter(changes.items()))
        foreign = replace(cause, text=f"stream {stream}: {cause.text}")
        for each in moved:
            choices[each.stream] = _Move(changes.get(each.stream, foreign), each.routes, takes_candidate=True)
    elif moved and _pays(moved, outlook, now_s):
        cause = outlook.cause(moved, snapshot)
        ready_at_s = max(map(_ready_at_s, moved))
        for each in moved:
            move = _Move(cause, each.routes, takes_candidate=True)
            choices[each.stream] = Hold(ready_at_s, cause) if now_s < ready_at_s else move
    for each in free:
        back = each.take_back
        if back is not None and not broken_constraints(own_problem(outlook.whole, each.stream), back.routes):
            cause = Cause(RerouteCause.MEASURED, back.text)
            choices[each.stream] = _Move(cause, back.routes, takes_candidate=False)
    for each in free:
        # Settings travel with the plan, so that a change of settings needs a new epoch even on the same routes.
        if each.stream in changes and settings_changed(each) and not isinstance(choices[each.stream], _Move):
            # The candidate's routes fit those of the other candidates. Where the others stay, the present routes are
            # safer, unless they miss the deadline.
            takes = len(outlook.chosen) == 1 or is_late(each, outlook.whole)
            routes = each.routes if takes else outlook.staying[each.stream]
            choices[each.stream] = _Move(changes[each.stream], routes, takes_candidate=takes)
    return choices


def _pays(moved: Sequence[Candidate], outlook: _Outlook, now_s: float) -> bool:
    """Return whether the gain is worth a reroute: it is the largest that one of the streams requires, or a deadline."""
    if any(is_late(each, outlook.whole) for each in moved):
        return True
    if outlook.swing is not None:
        mean_before, mean_after = outlook.swing
        least = max(each.present.policy.min_gain for each in moved if each.present is not None)
        return mean_before > mean_after * (1 + least) and outlook.before > outlook.after
    required = max(
        required_gain(each.present.policy, each.routes, each.departures, now_s)
        for each in moved
        if each.present is not None
    )
    gain = outlook.before - outlook.after
    return gain > 0 and gain > outlook.after * required


def _ready_at_s(candidate: Candidate) -> float:
    """Return the end of the cooldown after the last reroute."""
    cooldown_ms = 0.0 if candidate.present is None else candidate.present.policy.cooldown_ms
    return last_departure_s(candidate.departures) + cooldown_ms / 1000


def _user_changes(candidates: Sequence[Candidate]) -> dict[str, Cause]:
    causes = {each.stream: user_change(each.present, each) for each in candidates if each.present is not None}
    return {stream: cause for stream, cause in causes.items() if cause is not None}


def _reroute(
    cause: Cause,
    candidate: Candidate,
    routes: tuple[PlanRoute, ...],
    costs: tuple[float | None, float],
    together: tuple[str, ...],
) -> RerouteDecision:
    objective, (before, after) = candidate.problem.policy.objective, costs
    text = describe_cost(objective, after)
    text = f"{describe_routes(routes)}, {text}" if before is None else f"{describe_cost(objective, before)} -> {text}"
    others = [name for name in together if name != candidate.stream]
    if others:
        several = ", ".join(others) if len(others) <= MAX_NAMES else f"{len(others)} other streams"
        text = f"{text} together with {several}"
    return RerouteDecision(cause, f"{cause.text}: {text}", routes, before, after, together)
