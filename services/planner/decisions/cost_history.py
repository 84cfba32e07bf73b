"""Costs of competing routes over the last half minute, and whether they swing.

A load that comes and goes makes one route better, then the other. A stream that follows every swing pays for each
reaction, and may land on each route just when it becomes the worse one. Once a whole cycle was seen, routes are
therefore compared by their mean cost over whole cycles. Then a stream stays on the better fixed route.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from planning.problem.problem import Problem
from services.planner.decisions.committed_routes import MISFITS, StreamRoutes, joint_cost
from shared.messages.streams import Stages

# Age of the oldest cost that counts. Cycles up to this length are recognised.
HISTORY_S = 30.0
# A phase this much longer than every one before it is no part of the cycle: conditions have changed for good.
LASTING = 1.5
# A phase shorter than this is over before a reroute pays: measuring, preparing and the cooldown take as long.
BRIEF_S = 6.0
# Time from a turn until requests take the other route: measuring, planning, preparing.
REACTION_S = 2.5
# Relative difference of two costs from which one route counts as better.
_BETTER = 0.02
# Samples closer together replace each other, so that the history is bounded.
_SPACING_S = 0.1
_MAX_ROUTES = 6

# Routes of all streams of a problem, without their predictions.
RoutesKey = tuple[tuple[str, tuple[tuple[Stages, int], ...]], ...]


def key_of(routes: StreamRoutes) -> RoutesKey:
    """Return routes as a key; predicted latencies do not count."""
    return tuple(sorted((name, tuple((each.stages, each.weight) for each in own)) for name, own in routes.items()))


@dataclass(frozen=True, slots=True)
class CostSample:
    """Costs of routes in the state of the fleet at one time, by the problem's objective."""

    at_s: float
    costs: Mapping[RoutesKey, float]


@dataclass(frozen=True, slots=True)
class CostHistory:
    """Costs of the routes in force and of their rivals, sampled whenever the problem was solved. Immutable.

    Attributes:
        samples: oldest first; each holds until the next one.
        routes: those whose costs are followed, the one used last at the end.
        problem: of the last sample, in which a new rival is judged as well.
    """

    samples: tuple[CostSample, ...] = ()
    routes: Mapping[RoutesKey, StreamRoutes] = field(default_factory=dict)
    problem: Problem | None = None

    def observed(self, problem: Problem, rivals: Iterable[StreamRoutes], now_s: float) -> "CostHistory":
        """Return the history with the present costs of these routes, and of those that were rivals before."""
        routes = dict(self.routes)
        for each in rivals:
            key = key_of(each)
            routes.pop(key, None)
            routes[key] = each
        blocks = {stream.name: len(problem.models[stream.model].blocks) for stream in problem.streams}
        kept = {key: each for key, each in list(routes.items())[-_MAX_ROUTES:] if _fit(each, blocks)}
        before = [sample for sample in self.samples if sample.at_s <= now_s]
        rivals_before = {key: each for key, each in kept.items() if key not in self.routes}
        if before and self.problem is not None and rivals_before:
            # Without it, the first change between two routes would not be known as one.
            before[-1] = replace(before[-1], costs={**before[-1].costs, **_costs(self.problem, rivals_before, blocks)})
        if before and now_s - before[-1].at_s < _SPACING_S:
            before.pop()
        # The last sample before the window still holds at its beginning.
        while len(before) > 1 and before[1].at_s <= now_s - HISTORY_S:
            del before[0]
        return CostHistory((*before, CostSample(now_s, _costs(problem, kept, blocks))), kept, problem)

    def present_cost(self, routes: StreamRoutes) -> float | None:
        """Return the cost of routes in the last sample; None if they cannot run."""
        return self.samples[-1].costs.get(key_of(routes)) if self.samples else None

    def is_swinging(self, now_s: float) -> bool:
        """Return whether any two routes swing."""
        keys = list(self.routes)
        return any(
            self.swing(first, second, now_s) is not None
            for number, first in enumerate(keys)
            for second in keys[number + 1 :]
        )

    def swing(self, first: RoutesKey, second: RoutesKey, now_s: float) -> tuple[float, float] | None:
        """Return the mean costs of two routes over the whole cycles seen; None if they do not swing.

        They swing if the better one has changed three times, so that a whole cycle lies between, or twice within
        `BRIEF_S`, which no reroute can follow. They do not swing if the present phase is much longer than those before,
        or if following every turn, late by `REACTION_S`, costs less than the better one of both.
        """
        series = self._series(first, second, now_s)
        turns = _turns(series)
        phases_s = [later - earlier for earlier, later in pairwise(turns)]
        if (
            not phases_s
            or (len(phases_s) == 1 and phases_s[0] > BRIEF_S)
            or now_s - turns[-1] > LASTING * max(phases_s)
        ):
            return None
        # Between turns in the same direction lie whole cycles. After two turns, a phase of the same length before the
        # first one completes the cycle.
        begin_s = turns[(len(turns) - 1) % 2] if len(turns) > 2 else turns[0] - phases_s[0]
        end_s = turns[-1]
        spans = [
            (min(stop_s, end_s) - max(start_s, begin_s), one, other)
            for start_s, stop_s, one, other in series
            if stop_s > begin_s and start_s < end_s
        ]
        total_s = sum(span_s for span_s, _, _ in spans)
        mean_first = sum(span_s * one for span_s, one, _ in spans) / total_s
        mean_second = sum(span_s * other for span_s, _, other in spans) / total_s
        whole = len(phases_s) - len(phases_s) % 2
        if len(turns) > 2 and _followed(spans, whole) / total_s < min(mean_first, mean_second):
            return None
        return mean_first, mean_second

    def _series(self, first: RoutesKey, second: RoutesKey, now_s: float) -> list[tuple[float, float, float, float]]:
        """Return (start, end, cost of the first, cost of the second) of the ranges in which both are known."""
        ends = [*(sample.at_s for sample in self.samples[1:]), now_s]
        return [
            (max(sample.at_s, now_s - HISTORY_S), end_s, sample.costs[first], sample.costs[second])
            for sample, end_s in zip(self.samples, ends, strict=False)
            if first in sample.costs and second in sample.costs and end_s > now_s - HISTORY_S
        ]


NO_HISTORY = CostHistory()


def _followed(spans: Sequence[tuple[float, float, float]], turns: int) -> float:
    """Return the cost times seconds of a stream that takes the better route `REACTION_S` after every turn.

    Args:
        spans: (seconds, cost of the first, cost of the second).
        turns: number of turns within.
    """
    best = sum(span_s * min(first, second) for span_s, first, second in spans)
    # The loss per second of being on the wrong route, on average.
    total_s = sum(span_s for span_s, _, _ in spans)
    loss = sum(span_s * abs(first - second) for span_s, first, second in spans) / total_s
    return best + loss * min(total_s, REACTION_S * turns)


def _turns(series: Sequence[tuple[float, float, float, float]]) -> list[float]:
    """Return the times at which the better of two routes changed."""
    turns: list[float] = []
    better = 0
    for start_s, _, first, second in series:
        if math.isclose(first, second, rel_tol=_BETTER):
            continue
        now_better = 1 if first < second else 2
        if better and now_better != better:
            turns.append(start_s)
        better = now_better
    return turns


def _costs(
    problem: Problem, routes: Mapping[RoutesKey, StreamRoutes], blocks: Mapping[str, int]
) -> dict[RoutesKey, float]:
    """Return the costs of those routes that can run."""
    if {stream.name: len(problem.models[stream.model].blocks) for stream in problem.streams} != blocks:
        return {}
    return {key: cost for key, each in routes.items() if (cost := _cost(problem, each)) is not None}


def _fit(routes: StreamRoutes, blocks: Mapping[str, int]) -> bool:
    """Return whether routes are those of the problem's streams, and of their models."""
    return routes.keys() == blocks.keys() and all(
        route.stages[-1].stop == blocks[name] for name, own in routes.items() for route in own
    )


def _cost(problem: Problem, routes: StreamRoutes) -> float | None:
    try:
        return joint_cost(problem, routes)
    except MISFITS:
        return None
