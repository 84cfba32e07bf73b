"""Within which bandwidths and loads the plan in force stays the best, and what comes beyond. Pure.

Exact for one route and the objective latency: every route's latency is a line in the load of a device and in one
over the bandwidth of a link, so that what is best is an envelope of lines (`shared.plan.thresholds`).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from services.planner.routes import broken_constraints, burst_jobs, devices_of, segments_of, to_message
from services.planner.sharing import segment_bytes, slowdown
from services.planner.strategies.comparison import SPAN, fastest_route
from shared.messages.alternatives import Alternatives, Quantity, Threshold
from shared.messages.control import SegmentRange
from shared.messages.models import Manifest
from shared.messages.streams import CommittedPlan, PlanRoute
from shared.plan.cost import CostModel
from shared.plan.plan import Route, StreamPlan, sequential_route
from shared.plan.policy import Objective
from shared.plan.problem import Link, Problem, link_table
from shared.plan.thresholds import Range, bandwidth_ranges, load_ranges

NOTEWORTHY = 0.05
"""Thresholds that have moved by less than this share are no news."""
MAX_DEVICES = 16
"""In a larger fleet only the links on the route are looked at."""
MAX_WARM = 2
"""Alternatives whose segments are kept ready: the nearest ones."""
WARM_SHARE = 0.5
"""Of a device's memory: the rest is for other streams."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What is to be looked at: the plan in force, the present problem, and how busy others keep its devices."""

    plan: CommittedPlan
    problem: Problem
    busy_shares: Mapping[str, float] = field(default_factory=dict)


def survey(asked: Survey) -> Alternatives:
    """Return the thresholds of the plan.

    None where they are not lines (bursts, several routes, other objectives), where the plan cannot run any more, or
    where another gains enough already: then the planner holds the reroute back, and so shall the source.
    """
    plan, problem = asked.plan, asked.problem
    policy = problem.policy
    found: tuple[Threshold, ...] = ()
    is_line = policy.objective is Objective.LATENCY and len(plan.routes) == 1 and burst_jobs(problem) == 1
    if is_line and not broken_constraints(problem, plan.routes) and not _is_overdue(problem, plan.routes[0]):
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


def _is_overdue(problem: Problem, route: PlanRoute) -> bool:
    """Say whether another route gains more than the policy asks for as things are."""
    costs, stream = CostModel(problem), problem.streams[0]
    best = fastest_route(problem, stream)
    wanted = 1 + problem.policy.min_gain
    return best is not None and costs.latency_ms(stream, _plain(route)) > wanted * costs.latency_ms(stream, best)


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
            yield _bandwidth(problem, route, hop, table[hop])
    for device in devices_of((route,)):
        yield _load(problem, route, device).model_copy(update={"sharing": slowdown(asked.busy_shares.get(device, 0.0))})


def _bandwidth(problem: Problem, route: PlanRoute, ends: tuple[str, str], link: Link) -> Threshold:
    value = link.bandwidth_mbps
    ranges = bandwidth_ranges(
        problem, problem.streams[0], ends, fastest_route, low_mbps=value / SPAN, high_mbps=value * SPAN
    )

    def at(mbps: float) -> Problem:
        links = tuple(replace(each, bandwidth_mbps=mbps) if each == link else each for each in problem.links)
        return replace(problem, links=links)

    walk = _Walk(problem, route, ranges, at, lambda mbps: 1 / mbps)
    return walk.threshold(Quantity.BANDWIDTH, ends[0], value, target=ends[1], latency_ms=link.latency_ms)


def _load(problem: Problem, route: PlanRoute, device: str) -> Threshold:
    profile = problem.devices[device]
    value = profile.load_factor
    ranges = load_ranges(problem, problem.streams[0], device, fastest_route, low=value / SPAN, high=value * SPAN)

    def at(load_factor: float) -> Problem:
        return replace(problem, devices={**problem.devices, device: replace(profile, load_factor=load_factor)})

    return _Walk(problem, route, ranges, at, lambda load_factor: load_factor).threshold(Quantity.LOAD, device, value)


@dataclass(frozen=True, slots=True)
class _Walk:
    """Looks for the ends of the ranges from the present value outwards.

    Attributes:
        problem: as it is.
        route: in force.
        ranges: which route is the fastest where, ascending.
        at: the problem with another value.
        scale: the quantity in which latencies are lines; its own inverse.
    """

    problem: Problem
    route: PlanRoute
    ranges: Sequence[Range]
    at: Callable[[float], Problem]
    scale: Callable[[float], float]

    def threshold(
        self, quantity: Quantity, device: str, value: float, *, target: str | None = None, latency_ms: float = 0.0
    ) -> Threshold:
        """Return the ranges around ``value``."""
        stages = _plain(self.route).stages
        low = high = value
        for piece in reversed(self.ranges):
            if piece.route.stages == stages and piece.low <= low <= piece.high:
                low = piece.low
        for piece in self.ranges:
            if piece.route.stages == stages and piece.low <= high <= piece.high:
                high = piece.high
        down = [(min(piece.high, value), piece.low, piece.route) for piece in self.ranges if piece.low < value]
        up = [(max(piece.low, value), piece.high, piece.route) for piece in self.ranges if piece.high > value]
        below, above = self._leave(down[::-1]), self._leave(up)
        return Threshold(
            quantity=quantity,
            device=device,
            target=target,
            value=value,
            latency_ms=latency_ms,
            low=low,
            high=high,
            leave_below=None if below is None else below[0],
            below=None if below is None else below[1],
            leave_above=None if above is None else above[0],
            above=None if above is None else above[1],
        )

    def _leave(self, pieces: Sequence[tuple[float, float, Route]]) -> tuple[float, PlanRoute] | None:
        """Return where another route first gains enough, and which.

        Args:
            pieces: near end, far end and fastest route of each, leading away from the present value.
        """
        for near, far, route in pieces:
            excess_near, excess_far = self._excess(near, route), self._excess(far, route)
            if excess_near > 0:
                return near, self._message(route, near)
            if excess_far > 0:
                first, last = self.scale(near), self.scale(far)
                meet = self.scale(first + (last - first) * excess_near / (excess_near - excess_far))
                return meet, self._message(route, meet)
        return None

    def _excess(self, value: float, other: Route) -> float:
        """Return by how much the route in force costs more than another with the policy's gain on top, ms."""
        costs = CostModel(self.at(value))
        stream = self.problem.streams[0]
        wanted = 1 + self.problem.policy.min_gain
        return costs.latency_ms(stream, _plain(self.route)) - wanted * costs.latency_ms(stream, other)

    def _message(self, route: Route, value: float) -> PlanRoute:
        return to_message(self.at(value), StreamPlan((Route(route.stages),)))[0]


def _plain(route: PlanRoute) -> Route:
    return sequential_route((stage.start, stage.stop, stage.device, stage.codec) for stage in route.stages)


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
