"""Exact ranges of one bandwidth or one load in which each plan is the fastest: lower envelopes of lines."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

from shared.plan.cost import CostModel
from shared.plan.pipeline import Work
from shared.plan.plan import Route
from shared.plan.problem import Link, Problem, Stream, link_table

BestRoute = Callable[[Problem, Stream], Route | None]
"""Finds the route of least latency; exact, so that the ranges are."""


@dataclass(frozen=True, slots=True)
class Line:
    """A latency that depends on one quantity x: intercept + slope x."""

    intercept: float
    slope: float

    def at(self, x: float) -> float:
        """Return the value at ``x``."""
        return self.intercept + self.slope * x


@dataclass(frozen=True, slots=True)
class Range:
    """From ``low`` to ``high`` of the quantity, ``route`` is the fastest."""

    low: float
    high: float
    route: Route


def bandwidth_ranges(
    problem: Problem, stream: Stream, ends: tuple[str, str], best: BestRoute, *, low_mbps: float, high_mbps: float
) -> tuple[Range, ...]:
    """Return which route is the fastest at which bandwidth of the link between ``ends``, all else as it is.

    Latency is linear in 1 / bandwidth for every route, so the least latency is a concave chain of lines.

    Args:
        problem: the problem; its constraints other than devices are left to ``best``.
        stream: whose latency.
        ends: the two devices; a link that is given in one direction only changes in both.
        best: finds the fastest route.
        low_mbps: where to begin; positive.
        high_mbps: where to end.

    Raises:
        KeyError: if there is no such link.
    """
    link = link_table(problem.links)[ends]

    def at(x: float) -> Problem:
        changed = tuple(replace(other, bandwidth_mbps=1 / x) if other == link else other for other in problem.links)
        return replace(problem, links=changed)

    def line(route: Route) -> Line:
        sent = _sent_bytes(problem, stream, route, link)
        slope = 8 * sent / 1000
        return Line(CostModel(problem).latency_ms(stream, route) - slope / link.bandwidth_mbps, slope)

    pieces = _envelope(lambda x: best(at(x), stream), line, 1 / high_mbps, 1 / low_mbps)
    return tuple(Range(1 / piece.high, 1 / piece.low, piece.route) for piece in reversed(pieces))


def load_ranges(
    problem: Problem, stream: Stream, device: str, best: BestRoute, *, low: float, high: float
) -> tuple[Range, ...]:
    """Return which route is the fastest at which load factor of ``device``, all else as it is.

    Args:
        problem: the problem.
        stream: whose latency.
        device: whose load changes.
        best: finds the fastest route.
        low: where to begin; positive.
        high: where to end.

    Raises:
        KeyError: if there is no such device.
    """
    profile = problem.devices[device]

    def at(x: float) -> Problem:
        return replace(problem, devices={**problem.devices, device: replace(profile, load_factor=x)})

    def line(route: Route) -> Line:
        costs = CostModel(problem)
        slope = costs.busy_ms(stream, route).get((device, Work.COMPUTE), 0.0) / profile.load_factor
        return Line(costs.latency_ms(stream, route) - slope * profile.load_factor, slope)

    return tuple(_envelope(lambda x: best(at(x), stream), line, low, high))


def _envelope(
    best: Callable[[float], Route | None], line: Callable[[Route], Line], low: float, high: float
) -> list[Range]:
    """Return the lower envelope between ``low`` and ``high``.

    Where two lines that are best at the ends of an interval meet, either they are the best there too, and the interval
    has one breakpoint, or another line lies below, and splits it. 2 n + 1 searches for n pieces.
    """
    first, last = best(low), best(high)
    if first is None or last is None:
        return []
    found: list[Range] = []
    stack = [(low, first, high, last)]
    while stack:
        left, near, right, far = stack.pop()
        near_line, far_line = line(near), line(far)
        meet = _meeting(near_line, far_line, left, right)
        if meet is None:
            found.append(Range(left, right, near if near_line.at(right) <= far_line.at(right) * (1 + 1e-9) else far))
            continue
        middle = best(meet)
        if middle is None or line(middle).at(meet) >= near_line.at(meet) * (1 - 1e-9):
            found += [Range(left, meet, near), Range(meet, right, far)]
            continue
        stack += [(meet, middle, right, far), (left, near, meet, middle)]
    return _merged(found)


def _meeting(near: Line, far: Line, left: float, right: float) -> float | None:
    """Return where two lines cross strictly inside an interval."""
    if near.slope == far.slope:
        return None
    meet = (far.intercept - near.intercept) / (near.slope - far.slope)
    width = (right - left) * 1e-9
    return meet if left + width < meet < right - width else None


def _merged(ranges: list[Range]) -> list[Range]:
    merged: list[Range] = []
    for piece in ranges:
        if merged and merged[-1].route == piece.route:
            merged[-1] = Range(merged[-1].low, piece.high, piece.route)
        elif piece.high - piece.low > 0 and piece.high < inf:
            merged.append(piece)
    return merged


def _sent_bytes(problem: Problem, stream: Stream, route: Route, link: Link) -> float:
    """Return how many bytes of a request cross ``link``, in every direction it serves."""
    table = link_table(problem.links)
    return sum(
        operation.size_bytes
        for operation in CostModel(problem).operations(stream, route)
        if operation.target is not None and table[operation.device, operation.target] == link
    )
