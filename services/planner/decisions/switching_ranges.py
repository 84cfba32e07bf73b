"""Within which bandwidths and loads the plan in force stays the best, and what comes beyond. Pure.

For one route. Latency and energy are lines in the load of a device and in one over the bandwidth of a link, so that
what is best is an envelope of lines (`planning.cost.thresholds`). Under Hu & Mishra's objective, and for energy under a
deadline, only what is urgent is looked for: where the deadline is missed, and which route then takes over.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from planning.cost.cost_model import CostModel
from planning.cost.thresholds import LINEAR, Line, Parameter, bandwidth_parameter, load_parameter
from planning.problem.plan import Route, StreamPlan
from planning.problem.problem import Problem, link_table
from planning.sensitivity.comparison import SPAN, best_route, fastest_route, ranges_around
from planning.strategies.registry import traits_of
from services.planner.decisions.committed_routes import (
    broken_constraints,
    burst_jobs,
    devices_of,
    segments_of,
    to_message,
    to_route,
)
from services.planner.decisions.damping import Departure, required_gain
from services.planner.problems.sharing import segment_bytes, slowdown
from shared.messages.alternatives import Alternatives, Threshold, ThresholdQuantity
from shared.messages.control import SegmentRange
from shared.messages.models import Manifest
from shared.messages.streams import CommittedPlan, PlanRoute
from shared.policy import Objective

NOTEWORTHY = 0.05
"""Thresholds that have moved by less than this share are no news."""
MAX_DEVICES = 16
"""In a larger fleet only the links on the route are looked at."""
MAX_WARM = 2
"""Alternatives whose segments are kept ready: the nearest ones."""
WARM_SHARE = 0.5
"""Of a device's memory: the rest is for other streams."""

_STRICTLY = 1 + 1e-9
"""A route that is better by less is as good."""
_JUST_BEYOND = 1 + 1e-6
"""Where a deadline that is missed from some value on is missed for certain."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What is to be looked at.

    Attributes:
        plan: the one in force.
        problem: the present one.
        busy_shares: how busy others keep its devices.
        departures: routes left within the damping window: to come back to one has to gain more.
    """

    plan: CommittedPlan
    problem: Problem
    busy_shares: Mapping[str, float] = field(default_factory=dict)
    departures: tuple[Departure, ...] = ()


def survey(asked: Survey) -> Alternatives:
    """Return the thresholds of the plan.

    None where they are not known (bursts, several routes, other objectives, strategies that are not exact), where the
    plan cannot run any more, or where another gains enough already: then the planner holds the reroute back, and so
    shall the source.
    """
    plan, problem = asked.plan, asked.problem
    policy = problem.policy
    found: tuple[Threshold, ...] = ()
    is_known = _is_known(problem) and len(plan.routes) == 1 and burst_jobs(problem) == 1
    if is_known and not broken_constraints(problem, plan.routes) and not _is_overdue(problem, plan.routes[0]):
        found = tuple(_thresholds(asked, plan.routes[0]))
    return Alternatives(stream=plan.stream, epoch=plan.epoch, cooldown_ms=policy.cooldown_ms, thresholds=found)


def is_news(before: Alternatives | None, after: Alternatives) -> bool:
    """Say whether thresholds or what lies beyond them have changed enough to be told."""
    if before is None:
        return bool(after.thresholds)
    if (before.epoch, before.cooldown_ms, len(before.thresholds)) != (
        after.epoch,
        after.cooldown_ms,
        len(after.thresholds),
    ):
        return True
    return any(_differs(old, new) for old, new in zip(before.thresholds, after.thresholds, strict=True))


def warm_segments(
    plan: CommittedPlan, alternatives: Alternatives, manifest: Manifest, problem: Problem
) -> dict[str, tuple[SegmentRange, ...]]:
    """Return what devices shall hold besides the plan's own segments: those of the nearest alternatives that fit.

    A device is listed with everything that it shall hold for the plan then.
    """
    held = segments_of(plan.routes)
    wanted = dict(held)
    for route in nearest(alternatives)[:MAX_WARM]:
        more = {
            device: tuple({(each.start, each.stop): each for each in (*ranges, *wanted.get(device, ()))}.values())
            for device, ranges in segments_of((route,)).items()
        }
        if all(_fits(problem, device, manifest, ranges) for device, ranges in more.items()):
            wanted |= more
    return {device: ranges for device, ranges in wanted.items() if ranges != held.get(device)}


def nearest(alternatives: Alternatives) -> list[PlanRoute]:
    """Return the alternatives, the one first that the smallest relative change leads to."""
    ranked: list[tuple[float, PlanRoute]] = []
    for each in alternatives.thresholds:
        for leave, route in ((each.leave_below, each.below), (each.leave_above, each.above)):
            if leave is not None and route is not None:
                ranked.append((abs(math.log(max(leave, 1e-9) / each.value)), route))
    return list({route.stages: route for _, route in sorted(ranked, key=lambda entry: entry[0])}.values())


def _is_known(problem: Problem) -> bool:
    """Return whether thresholds of single routes are known, and are those of the policy's own strategy.

    Thresholds lead to the best route. Only exact strategies choose it; a source keeps to what another strategy chooses.
    """
    traits = traits_of(problem.policy.strategy)
    is_exact = traits is not None and traits.exact
    return is_exact and (problem.policy.objective in LINEAR or _is_bounded(problem))


def _is_bounded(problem: Problem) -> bool:
    """Say whether a deadline bounds what the objective may choose from, so that only its end is looked for.

    What the deadline leaves changes with every quantity. Under the objective latency the fastest route is what it is.
    """
    deadline_ms = problem.deadline_ms(problem.streams[0])
    return deadline_ms is not None and problem.policy.objective in (Objective.DEADLINE, Objective.ENERGY)


def _is_overdue(problem: Problem, route: PlanRoute) -> bool:
    """Say whether another route gains more than the policy asks for as things are."""
    stream = problem.streams[0]
    best = fastest_route(problem, stream) if problem.policy.objective is Objective.LATENCY else None
    best = best or best_route(problem, stream)
    return best is not None and _cost(problem, to_route(route)) > (1 + problem.policy.min_gain) * _cost(problem, best)


def _cost(problem: Problem, route: Route) -> float:
    costs, plans = CostModel(problem), {problem.streams[0].name: StreamPlan((route,), (0,))}
    return costs.cost(problem.policy.objective, plans, costs.predict(plans))


def _thresholds(asked: Survey, route: PlanRoute) -> Iterator[Threshold]:
    problem = asked.problem
    source = problem.streams[0].source
    places = [source, *(stage.device for stage in route.stages)]
    ends = [hop for hop in pairwise(places) if hop[0] != hop[1]]
    table = link_table(problem.links)
    if len(problem.devices) <= MAX_DEVICES:
        ends += [hop for hop in table if hop[0] == source]
    for hop in dict.fromkeys(ends):
        if hop in table:
            sides = _Walk(bandwidth_parameter(problem, hop), route, asked.departures).sides()
            yield Threshold(
                quantity=ThresholdQuantity.BANDWIDTH,
                device=hop[0],
                target=hop[1],
                latency_ms=table[hop].latency_ms,
                **sides,
            )
    for device in devices_of((route,)):
        sharing = slowdown(asked.busy_shares.get(device, 0.0))
        sides = _Walk(load_parameter(problem, device), route, asked.departures).sides()
        yield Threshold(quantity=ThresholdQuantity.LOAD, device=device, sharing=sharing, **sides)


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of the present value: up to ``end`` no route is better, beyond ``leave`` this one is by enough."""

    end: float
    leave: float | None = None
    route: PlanRoute | None = None


@dataclass(frozen=True, slots=True)
class _Walk:
    """Looks from the present value outwards for where other routes than the one in force are better."""

    dial: Parameter
    route: PlanRoute
    departures: tuple[Departure, ...]

    def sides(self) -> dict[str, Any]:
        """Return the fields of a threshold that say what is where."""
        problem, value = self.dial.problem, self.dial.value
        if _is_bounded(problem):
            below, above = _Side(value), _Side(value)
            worse = self._deadline_missed()
            below, above = (below, worse) if self.dial.link is None else (worse, above)
        else:
            pieces = ranges_around(self.dial, problem.streams[0], problem.policy.objective)
            below = self._side(
                [_Piece(min(own.high, value), own.low, own.route) for own in pieces if own.low < value][::-1]
            )
            above = self._side([_Piece(max(own.low, value), own.high, own.route) for own in pieces if own.high > value])
        return {
            "value": value,
            "low": below.end,
            "high": above.end,
            "leave_below": below.leave,
            "below": below.route,
            "leave_above": above.leave,
            "above": above.route,
        }

    def _side(self, pieces: Sequence["_Piece"]) -> _Side:
        end = self._left(pieces, lambda _: _STRICTLY)
        leave = self._left(pieces, self._worthwhile)
        last = pieces[-1].far if pieces else self.dial.value
        return _Side(end[0] if end else last, leave and leave[0], leave and self._message(*leave))

    def _worthwhile(self, route: Route) -> float:
        """Return how many times as much as another the route in force has to cost, as the planner sees it."""
        found = (self._message(self.dial.value, route),)
        newest_s = max((departure.at_s for departure in self.departures), default=0.0)
        return 1 + required_gain(self.dial.problem.policy, found, self.departures, newest_s)

    def _left(self, pieces: Sequence["_Piece"], wanted: Callable[[Route], float]) -> tuple[float, Route] | None:
        """Return where the route in force first costs more than ``wanted`` times the best one, and which that is.

        A route that misses the deadline, where the best does not, costs too much.
        """
        own, limit = self._line(to_route(self.route)), self._limit(to_route(self.route))
        for piece in pieces:
            best = self._line(piece.route).times(wanted(piece.route))
            start, stop = self.dial.x(piece.near), self.dial.x(piece.far)
            bends = [x for x in (own.meets(best), limit) if x is not None and min(start, stop) < x < max(start, stop)]
            for here, there in pairwise([start, *sorted(bends, reverse=start > stop), stop]):
                middle = (here + there) / 2
                is_missed = limit < middle <= self._limit(piece.route)
                if is_missed or own.at(middle) > best.at(middle):
                    return self.dial.x(here), piece.route
        return None

    def _deadline_missed(self) -> _Side:
        """Return where the route in force misses the deadline, and which route does not just there."""
        limit = self._limit(to_route(self.route))
        furthest = self.dial.x(self.dial.value) * SPAN
        if limit >= furthest:
            return _Side(self.dial.x(furthest))
        route = best_route(self.dial.at(self.dial.x(limit * _JUST_BEYOND)), self.dial.problem.streams[0])
        leave = self.dial.x(limit)
        return _Side(leave) if route is None else _Side(leave, leave, self._message(leave, route))

    def _line(self, route: Route) -> Line:
        return self.dial.line(self.dial.problem.streams[0], route, self.dial.problem.policy.objective)

    def _limit(self, route: Route) -> float:
        """Return the x beyond which a route misses the deadline."""
        problem = self.dial.problem
        deadline_ms = problem.deadline_ms(problem.streams[0])
        if deadline_ms is None:
            return math.inf
        return self.dial.line(problem.streams[0], route, Objective.LATENCY).reaches(deadline_ms)

    def _message(self, value: float, route: Route) -> PlanRoute:
        return to_message(self.dial.at(value), StreamPlan((Route(route.stages),)))[0]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A range that leads away from the present value."""

    near: float
    far: float
    route: Route


def _fits(problem: Problem, device: str, manifest: Manifest, ranges: Sequence[SegmentRange]) -> bool:
    memory_bytes = problem.devices[device].memory_bytes
    if memory_bytes is None:
        return True
    return sum(segment_bytes(manifest, each.start, each.stop) for each in ranges) <= WARM_SHARE * memory_bytes


def _differs(old: Threshold, new: Threshold) -> bool:
    if (old.quantity, old.device, old.target) != (new.quantity, new.device, new.target):
        return True
    if _stages(old.below) != _stages(new.below) or _stages(old.above) != _stages(new.above):
        return True
    return any(
        _moved(before, after)
        for before, after in ((old.leave_below, new.leave_below), (old.leave_above, new.leave_above))
    )


def _stages(route: PlanRoute | None) -> object:
    return None if route is None else route.stages


def _moved(before: float | None, after: float | None) -> bool:
    if before is None or after is None:
        return before is not after
    return abs(after - before) > NOTEWORTHY * before
