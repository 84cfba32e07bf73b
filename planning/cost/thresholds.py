"""Exact ranges of one bandwidth or one load in which each route is the best: lower envelopes of lines.

The latency and the energy of a request are lines in 1 / bandwidth of a link, and in the load factor of a device. The
throughput of a pipeline is not a line: its period is the maximum of several lines. Its envelope would take an exact
search for a bottleneck at every step (a tenth of a second and more), so it is not computed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from math import inf

from planning.cost.cost_model import CostModel
from planning.problem.plan import Route
from planning.problem.problem import Link, Problem, Stream, link_table
from planning.queueing.operations import Operation
from shared.link_time import transmission_ms
from shared.policy import Objective

# Returns the route that costs least; None if there is none, or it is not proved. The ranges are exact if it is.
BestRoute = Callable[[Problem, Stream], Route | None]

# The objectives whose costs are lines.
LINEAR = frozenset({Objective.LATENCY, Objective.ENERGY})

# Relative rounding error.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Line:
    """A cost over one quantity x: intercept + slope x."""

    intercept: float
    slope: float

    def at(self, x: float) -> float:
        """Return the value at ``x``."""
        return self.intercept + self.slope * x

    def times(self, factor: float) -> "Line":
        """Return the line with all values multiplied by ``factor``."""
        return Line(self.intercept * factor, self.slope * factor)

    def reaches(self, value: float) -> float:
        """Return the x beyond which a line that does not fall exceeds ``value``.

        It is infinite if the line never does, and minus infinite if it always does.
        """
        if self.slope <= 0:
            return inf if self.intercept <= value * (1 + _ROUNDING) else -inf
        return (value - self.intercept) / self.slope

    def meets(self, other: "Line") -> float | None:
        """Return the x at which two lines cross; None if they are parallel."""
        if self.slope == other.slope:
            return None
        return (other.intercept - self.intercept) / (self.slope - other.slope)


@dataclass(frozen=True, slots=True)
class Range:
    """Values from ``low`` to ``high`` of a quantity, at which ``route`` is the best."""

    low: float
    high: float
    route: Route


@dataclass(frozen=True, slots=True)
class Parameter:
    """A quantity of a problem that varies while all others stay: a link's bandwidth, or a device's load factor.

    Attributes:
        problem: the problem with the present value.
        link: the link whose bandwidth varies; None for a load. A link that is listed once varies in both directions.
        device: the device whose load varies; None for a bandwidth.
    """

    problem: Problem
    link: Link | None = None
    device: str | None = None

    @property
    def value(self) -> float:
        """The present bandwidth in Mbps, or load factor."""
        if self.link is not None:
            return self.link.bandwidth_mbps
        return self.problem.devices[self.device or ""].load_factor

    def at(self, value: float) -> Problem:
        """Return the problem with another value."""
        problem = self.problem
        if self.link is not None:
            links = (replace(link, bandwidth_mbps=value) if link == self.link else link for link in problem.links)
            return replace(problem, links=tuple(links))
        name = self.device or ""
        return replace(problem, devices={**problem.devices, name: replace(problem.devices[name], load_factor=value)})

    def x(self, value: float) -> float:
        """Return the quantity in which costs are lines: 1 / bandwidth, or the load factor. It is its own inverse."""
        return value if self.link is None else 1 / value

    def line(self, stream: Stream, route: Route, objective: Objective) -> Line:
        """Return the cost of a request over x, in ms or joules.

        The slope of a sending over the link that varies is its transmission time at 1 Mbps. The slope of computing on
        the device that varies is its time at load factor 1. All other operations are constant.

        Args:
            stream: the stream of the request.
            route: a route without tiles.
            objective: one of `LINEAR`; the cost is that of `CostModel.cost`.
        """
        lines, costs = [], CostModel(self.problem)
        for operation in costs.operations(stream, route):
            slope = self._slope(operation)
            line = Line(operation.duration_ms - slope * self.x(self.value), slope)
            lines.append(line if objective is Objective.LATENCY else line.times(costs.power_w(operation) / 1000))
        return Line(sum(line.intercept for line in lines), sum(line.slope for line in lines))

    def _slope(self, operation: Operation) -> float:
        if operation.target is None:
            return operation.duration_ms / self.value if operation.device == self.device else 0.0
        if link_table(self.problem.links)[operation.device, operation.target] != self.link:
            return 0.0
        return transmission_ms(operation.size_bytes, 1.0)


def bandwidth_parameter(problem: Problem, ends: tuple[str, str]) -> Parameter:
    """Return the bandwidth of the link between two devices as the parameter.

    Raises:
        KeyError: there is no such link.
    """
    return Parameter(problem, link=link_table(problem.links)[ends])


def load_parameter(problem: Problem, device: str) -> Parameter:
    """Return the load factor of a device as the parameter.

    Raises:
        KeyError: there is no such device.
    """
    if device not in problem.devices:
        raise KeyError(device)
    return Parameter(problem, device=device)


def ranges(
    parameter: Parameter, stream: Stream, objective: Objective, best: BestRoute, *, low: float, high: float
) -> tuple[Range, ...]:
    """Return the best route at every value of a parameter, as ascending ranges without gaps.

    The result is empty if ``best`` returns None at ``low`` or ``high``.

    Args:
        parameter: the quantity that varies.
        stream: the stream of the requests.
        objective: one of `LINEAR`.
        best: returns the best route. It must not apply a deadline: the routes that meet one vary with the quantity, so
            the envelope would not be that of fixed lines.
        low: first value; positive.
        high: last value.
    """

    @cache
    def line(route: Route) -> Line:
        return parameter.line(stream, route, objective)

    def search(x: float) -> Route | None:
        return best(parameter.at(parameter.x(x)), stream)

    # In 1 / bandwidth the order of values is reversed.
    pieces = _envelope(search, line, *sorted((parameter.x(low), parameter.x(high))))
    if parameter.link is None:
        return pieces
    return tuple(Range(1 / own.high, 1 / own.low, own.route) for own in pieces[::-1])


def _envelope(
    best: Callable[[float], Route | None], line: Callable[[Route], Line], low: float, high: float
) -> tuple[Range, ...]:
    """Return the lower envelope between ``low`` and ``high``.

    Consider the two lines that are best at the ends of an interval, and where they meet. If no line lies below them
    there, the interval has this one breakpoint: a lower envelope of lines is concave. Otherwise the lower line splits
    the interval in two. It takes 2 n + 1 searches for n pieces.
    """
    first, last = best(low), best(high)
    if first is None or last is None:
        return ()
    best_ranges: list[Range] = []
    stack = [(low, first, high, last)]
    while stack:
        left, near, right, far = stack.pop()
        near_line, far_line = line(near), line(far)
        meet, width = near_line.meets(far_line), (right - left) * _ROUNDING
        # Lines that do not meet inside the interval have no breakpoint there. The line that is lower at its right end
        # is lower throughout.
        if meet is None or not left + width < meet < right - width:
            is_near = near_line.at(right) <= far_line.at(right) + _ROUNDING * abs(far_line.at(right))
            best_ranges.append(Range(left, right, near if is_near else far))
            continue
        middle, least = best(meet), near_line.at(meet)
        # The tolerance keeps a rounding error from counting as a lower line, which would split the interval forever.
        if middle is None or line(middle).at(meet) >= least - _ROUNDING * abs(least):
            best_ranges += [Range(left, meet, near), Range(meet, right, far)]
            continue
        stack += [(meet, middle, right, far), (left, near, meet, middle)]
    return _merged(best_ranges)


def _merged(pieces: Iterable[Range]) -> tuple[Range, ...]:
    """Return the ranges with neighbours of the same route joined, and without empty ones."""
    merged: list[Range] = []
    for piece in pieces:
        if merged and merged[-1].route == piece.route:
            merged[-1] = Range(merged[-1].low, piece.high, piece.route)
        elif piece.high > piece.low:
            merged.append(piece)
    return tuple(merged)
