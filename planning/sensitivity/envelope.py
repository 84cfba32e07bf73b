"""The latency of candidate routes over the bandwidth of the link that matters most, and the fastest route by range."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf, log

from planning.cost.cost_model import CostModel
from planning.cost.thresholds import Range, bandwidth_parameter
from planning.problem.plan import Route
from planning.problem.problem import Link, Problem, Stream, link_table
from planning.sensitivity.comparison import SPAN, fastest_route, ranges_around
from shared.policy import Objective

# Factor by which the drawn bandwidths reach beyond the present one and the thresholds.
MARGIN = 4.0


@dataclass(frozen=True, slots=True)
class Envelope:
    """The effect of one link's bandwidth on the routes of a stream.

    Attributes:
        stream: the stream.
        ends: the two devices that the link joins.
        now_mbps: the link's present bandwidth.
        low_mbps: the lowest bandwidth that is worth drawing.
        high_mbps: the highest bandwidth that is worth drawing.
        ranges: the fastest route by range of bandwidth, ascending; empty if no route is possible.
        candidates: the routes that are worth drawing, each once, the fastest ones first.
    """

    stream: Stream
    ends: tuple[str, str]
    now_mbps: float
    low_mbps: float
    high_mbps: float
    ranges: tuple[Range, ...]
    candidates: tuple[Route, ...]

    @property
    def thresholds_mbps(self) -> tuple[float, ...]:
        """The bandwidths at which another route becomes the fastest, ascending."""
        return tuple(piece.high for piece in self.ranges[:-1])


def critical_envelope(problem: Problem, stream: Stream, routes: Iterable[Route]) -> Envelope | None:
    """Return the envelope over the link whose bandwidth overturns the decision soonest; None without links.

    This is the link with the smallest factor between its present bandwidth and a threshold. If no link overturns the
    decision within a factor of SPAN, it is the link over which the fastest route sends the longest.

    Args:
        problem: the problem.
        stream: the stream whose routes are drawn.
        routes: routes to draw beside those of the envelope; the number of their jobs does not matter.
    """
    envelopes = [(_factor(link, ranges), link, ranges) for link, ranges in _ranges(problem, stream)]
    if not envelopes:
        return None
    fastest = fastest_route(problem, stream)
    factor, link, ranges = min(
        envelopes, key=lambda entry: (entry[0], -_sending_ms(problem, stream, fastest, entry[1]) if fastest else 0.0)
    )
    now = link.bandwidth_mbps
    # Thresholds outside of SPAN are not drawn, only the surroundings of the present bandwidth.
    marks = [now] if factor == inf else [now, *(piece.high for piece in ranges[:-1])]
    candidates = {replace(route, jobs=1): None for route in (*(piece.route for piece in ranges), *routes)}
    return Envelope(
        stream,
        (link.source, link.target),
        now,
        max(now / SPAN, min(marks) / MARGIN),
        min(now * SPAN, max(marks) * MARGIN),
        ranges,
        tuple(candidates),
    )


def latency_at_ms(
    problem: Problem, stream: Stream, route: Route, ends: tuple[str, str], bandwidth_mbps: float
) -> float:
    """Return a route's latency if the link between ``ends`` had another bandwidth, in ms."""
    link = link_table(problem.links)[ends]
    links = tuple(replace(own, bandwidth_mbps=bandwidth_mbps) if own == link else own for own in problem.links)
    return CostModel(replace(problem, links=links)).latency_ms(stream, route)


def _ranges(problem: Problem, stream: Stream) -> list[tuple[Link, tuple[Range, ...]]]:
    dials = [(link, bandwidth_parameter(problem, (link.source, link.target))) for link in problem.links]
    return [(link, ranges_around(dial, stream, Objective.LATENCY)) for link, dial in dials]


def _factor(link: Link, ranges: tuple[Range, ...]) -> float:
    return min((abs(log(piece.high / link.bandwidth_mbps)) for piece in ranges[:-1]), default=inf)


def _sending_ms(problem: Problem, stream: Stream, route: Route, link: Link) -> float:
    table = link_table(problem.links)
    return sum(
        operation.duration_ms
        for operation in CostModel(problem).operations(stream, route)
        if operation.target is not None and table[operation.device, operation.target] == link
    )
