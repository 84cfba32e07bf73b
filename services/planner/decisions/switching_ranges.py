"""Ranges of bandwidth and load within which the plan in force stays the best, and the routes beyond them.

They are computed for plans of one route. Latency and energy are linear in the load of a device, and in 1 / bandwidth of
a link. So the best cost is the lower envelope of lines (`planning.cost.thresholds`). Under the objective deadline (Hu &
Mishra), and for energy under a deadline, the range ends where the deadline is missed.
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
    to_message,
    to_route,
)
from services.planner.decisions.damping import Departure, required_gain
from services.planner.problems.sharing import segment_bytes, slowdown
from shared.messages.alternatives import Alternatives, Threshold, ThresholdQuantity
from shared.messages.control import SegmentRange, segments_of
from shared.messages.models import Manifest
from shared.messages.streams import CommittedPlan, PlanRoute
from shared.policy import Objective

# Relative change of a threshold below which it is not published again.
NOTEWORTHY = 0.05
# Size of a fleet above which only the links of the route are examined, not all links of the source.
MAX_DEVICES = 16
# Number of alternatives, nearest first, whose segments are kept loaded.
MAX_WARM = 2
# Share of a device's memory for the segments of a plan and its alternatives. The rest is for other streams.
WARM_SHARE = 0.5

# Tolerances for rounding errors: a route counts as better, or a deadline as missed, only beyond them.
_STRICTLY = 1 + 1e-9
_JUST_BEYOND = 1 + 1e-6


@dataclass(frozen=True, slots=True)
class ThresholdJob:
    """A plan whose thresholds are to be computed, immutable, so that a worker thread can do it.

    Attributes:
        plan: in force.
        problem: of its stream at present.
        busy_shares: share of its time that a device computes for other streams, by device.
        departures: routes left within the damping window, to which a return has to gain more.
        is_swinging: whether the costs of routes swing, so that the source must not follow single swings.
    """

    plan: CommittedPlan
    problem: Problem
    busy_shares: Mapping[str, float] = field(default_factory=dict)
    departures: tuple[Departure, ...] = ()
    is_swinging: bool = False


def find_thresholds(job: ThresholdJob) -> Alternatives:
    """Return the thresholds of the plan.

    There are none for bursts, several routes, routes with tiles, other objectives, and strategies that are not exact.
    There are none either if the plan cannot run, if costs swing, or if another route gains enough now. In the last case
    the planner waits for the end of the cooldown, and the source must not switch earlier.
    """
    plan, problem = job.plan, job.problem
    policy = problem.policy
    found: tuple[Threshold, ...] = ()
    is_single = (
        len(plan.routes) == 1 and burst_jobs(problem) == 1 and not any(each.tiles for each in plan.routes[0].stages)
    )
    is_known = _is_known(problem) and not job.is_swinging and is_single
    if is_known and not broken_constraints(problem, plan.routes) and not _is_overdue(problem, plan.routes[0]):
        found = tuple(_thresholds(job, plan.routes[0]))
    return Alternatives(stream=plan.stream, epoch=plan.epoch, cooldown_ms=policy.cooldown_ms, thresholds=found)


def is_noteworthy(before: Alternatives | None, after: Alternatives) -> bool:
    """Return whether thresholds, or the routes beyond them, have changed enough to be published."""
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
    """Return the devices that shall hold segments of the nearest alternatives, each with all its segments.

    An alternative is left out if its segments do not fit on one of its devices beside those of the plan.
    """
    held = segments_of(route.stages for route in plan.routes)
    warm = dict(held)
    for route in nearest(alternatives)[:MAX_WARM]:
        more = {
            device: tuple({(each.start, each.stop): each for each in (*ranges, *warm.get(device, ()))}.values())
            for device, ranges in segments_of((route.stages,)).items()
        }
        if all(_fits(problem, device, manifest, ranges) for device, ranges in more.items()):
            warm |= more
    return {device: ranges for device, ranges in warm.items() if ranges != held.get(device)}


def nearest(alternatives: Alternatives) -> list[PlanRoute]:
    """Return the alternatives, each once, ordered by the relative change that leads to them."""
    ranked: list[tuple[float, PlanRoute]] = []
    for each in alternatives.thresholds:
        for leave, route in ((each.leave_below, each.below), (each.leave_above, each.above)):
            if leave is not None and route is not None:
                ranked.append((abs(math.log(max(leave, 1e-9) / each.value)), route))
    return list({route.stages: route for _, route in sorted(ranked, key=lambda entry: entry[0])}.values())


def _is_known(problem: Problem) -> bool:
    """Return whether thresholds of single routes are known, and are those of the policy's own strategy.

    Thresholds lead to the best route. Only exact strategies choose it. Under other strategies a source does not switch.
    """
    traits = traits_of(problem.policy.strategy)
    is_exact = traits is not None and traits.exact
    return is_exact and (problem.policy.objective in LINEAR or _is_bounded(problem))


def _is_bounded(problem: Problem) -> bool:
    """Return whether a deadline bounds the choice of the objective, so that only the end of the range is sought.

    The routes that keep the deadline change with every quantity, so the best of them is not an envelope of lines. Under
    the objective latency, the deadline changes nothing: the fastest route is the best with and without it.
    """
    deadline_ms = problem.deadline_ms(problem.streams[0])
    return deadline_ms is not None and problem.policy.objective in (Objective.DEADLINE, Objective.ENERGY)


def _is_overdue(problem: Problem, route: PlanRoute) -> bool:
    """Return whether another route gains more at present than the policy requires."""
    stream = problem.streams[0]
    best = fastest_route(problem, stream) if problem.policy.objective is Objective.LATENCY else None
    best = best or best_route(problem, stream)
    return best is not None and _cost(problem, to_route(route)) > (1 + problem.policy.min_gain) * _cost(problem, best)


def _cost(problem: Problem, route: Route) -> float:
    costs, plans = CostModel(problem), {problem.streams[0].name: StreamPlan((route,), (0,))}
    return costs.cost(problem.policy.objective, plans, costs.predict(plans))


def _thresholds(job: ThresholdJob, route: PlanRoute) -> Iterator[Threshold]:
    problem = job.problem
    source = problem.streams[0].source
    places = [source, *(stage.device for stage in route.stages)]
    ends = [hop for hop in pairwise(places) if hop[0] != hop[1]]
    table = link_table(problem.links)
    if len(problem.devices) <= MAX_DEVICES:
        # A faster link elsewhere can make another route the best, too.
        ends += [hop for hop in table if hop[0] == source]
    for hop in dict.fromkeys(ends):
        if hop in table:
            sides = _OutwardSearch(bandwidth_parameter(problem, hop), route, job.departures).sides()
            yield Threshold(
                quantity=ThresholdQuantity.BANDWIDTH,
                device=hop[0],
                target=hop[1],
                latency_ms=table[hop].latency_ms,
                **sides,
            )
    for device in devices_of((route,)):
        # The source's device measures its load without the computing of other streams, so their share is added here.
        sharing = slowdown(job.busy_shares.get(device, 0.0))
        sides = _OutwardSearch(load_parameter(problem, device), route, job.departures).sides()
        yield Threshold(quantity=ThresholdQuantity.LOAD, device=device, sharing=sharing, **sides)


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of the present value.

    Attributes:
        end: up to here, no other route is better.
        leave: from here on, another route is better by the required gain; None if none is.
        route: that other route.
    """

    end: float
    leave: float | None = None
    route: PlanRoute | None = None


@dataclass(frozen=True, slots=True)
class _OutwardSearch:
    """Search from the present value of a parameter outwards for the values at which other routes are better.

    Attributes:
        parameter: bandwidth of a link, or load of a device. Costs are lines in its ``x``, not in its value.
        route: in force.
        departures: routes left within the damping window.
    """

    parameter: Parameter
    route: PlanRoute
    departures: tuple[Departure, ...]

    def sides(self) -> dict[str, Any]:
        """Return the fields of a threshold that describe both sides."""
        problem, value = self.parameter.problem, self.parameter.value
        if _is_bounded(problem):
            # A deadline is missed with less bandwidth or with more load.
            below, above = _Side(value), _Side(value)
            worse = self._deadline_missed()
            below, above = (below, worse) if self.parameter.link is None else (worse, above)
        else:
            pieces = ranges_around(self.parameter, problem.streams[0], problem.policy.objective)
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
        last = pieces[-1].far if pieces else self.parameter.value
        return _Side(end[0] if end else last, leave and leave[0], leave and self._message(*leave))

    def _worthwhile(self, route: Route) -> float:
        """Return the ratio of costs from which the planner would leave the route in force for this one."""
        alternative = (self._message(self.parameter.value, route),)
        newest_s = max((departure.at_s for departure in self.departures), default=0.0)
        return 1 + required_gain(self.parameter.problem.policy, alternative, self.departures, newest_s)

    def _left(self, pieces: Sequence["_Piece"], ratio: Callable[[Route], float]) -> tuple[float, Route] | None:
        """Return the first value at which the route in force costs more than ``ratio`` times the best, and the best.

        A route that misses the deadline where the best one keeps it costs too much.
        """
        own, limit = self._line(to_route(self.route)), self._limit(to_route(self.route))
        for piece in pieces:
            best = self._line(piece.route).times(ratio(piece.route))
            start, stop = self.parameter.x(piece.near), self.parameter.x(piece.far)
            bends = [x for x in (own.meets(best), limit) if x is not None and min(start, stop) < x < max(start, stop)]
            # Between two bends no line crosses the other or the deadline, so the middle decides for the whole range.
            for here, there in pairwise([start, *sorted(bends, reverse=start > stop), stop]):
                middle = (here + there) / 2
                is_missed = limit < middle <= self._limit(piece.route)
                if is_missed or own.at(middle) > best.at(middle):
                    return self.parameter.x(here), piece.route
        return None

    def _deadline_missed(self) -> _Side:
        """Return the side on which the route in force misses the deadline, with the route that keeps it just beyond."""
        limit = self._limit(to_route(self.route))
        furthest = self.parameter.x(self.parameter.value) * SPAN
        if limit >= furthest:
            return _Side(self.parameter.x(furthest))
        route = best_route(self.parameter.at(self.parameter.x(limit * _JUST_BEYOND)), self.parameter.problem.streams[0])
        leave = self.parameter.x(limit)
        return _Side(leave) if route is None else _Side(leave, leave, self._message(leave, route))

    def _line(self, route: Route) -> Line:
        return self.parameter.line(self.parameter.problem.streams[0], route, self.parameter.problem.policy.objective)

    def _limit(self, route: Route) -> float:
        """Return the x beyond which a route misses the deadline."""
        problem = self.parameter.problem
        deadline_ms = problem.deadline_ms(problem.streams[0])
        if deadline_ms is None:
            return math.inf
        return self.parameter.line(problem.streams[0], route, Objective.LATENCY).reaches(deadline_ms)

    def _message(self, value: float, route: Route) -> PlanRoute:
        return to_message(self.parameter.at(value), StreamPlan((Route(route.stages),)))[0]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A range of values in which one route is the best, from the near end to the far one."""

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
