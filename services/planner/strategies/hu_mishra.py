"""Hu & Mishra: as many layers at the source as the deadline allows, the rest on one or two helpers."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, permutations, product

from services.planner.strategies.candidates import helpers, keeps_constraints, local_route, split_routes
from services.planner.strategies.diagnosis import diagnose
from services.planner.strategies.neurosurgeon import no_split
from services.planner.strategies.strategy import conclude, uniform
from shared.plan.constraints import exceeds, violations
from shared.plan.cost import CostModel
from shared.plan.cuts import allowed_encodings
from shared.plan.plan import Constraint, Infeasible, Plan, Route, StreamPlan, sequential_route
from shared.plan.problem import Problem, Stream


@dataclass(frozen=True, slots=True)
class HuMishra:
    """Algorithm 1 of Hu & Mishra: the largest local part whose latency keeps the deadline; O(D^2 P^2) predictions.

    P are the cuts after pooling layers (blocks with "pool" in their name) and the two ends; all cuts where a model has
    no pooling. Resolutions: the printed loop has no break, so the smallest feasible local part would survive; the
    first one from the top is returned instead, as the text says, unless ``as_printed``. Layer b is not counted twice
    and each cut has its own transfer times. Without a feasible cut the plan of least latency is tried, which misses the
    deadline: the answer then is infeasible and says by how much. Without a deadline everything stays local. One helper
    is tried before two, the faster one first. The server's load is its load factor.
    """

    name: str = "hu_mishra"
    description: str = "most layers at the source within the deadline, the rest on one or two helpers"
    citation: str = "Hu & Mishra, A dynamic distributed scheduler for DNN inference on the edge, algorithm 1"
    as_printed: bool = False

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the plan of algorithm 1 for every stream on its own."""
        plans: dict[str, StreamPlan] = {}
        for stream in problem.streams:
            route = self._route(problem, stream)
            if route is None:
                reasons = diagnose(problem, stream, time_budget_s) or (no_split(stream, self.name),)
                return Infeasible(self.name, problem.policy.objective, reasons)
            plans[stream.name] = uniform(route, stream.jobs)
        return conclude(problem, self.name, plans)

    def _route(self, problem: Problem, stream: Stream) -> Route | None:
        costs = CostModel(problem)
        deadline_ms = problem.deadline_ms(stream) or float("inf")
        fallback: tuple[float, Route] | None = None
        printed: Route | None = None
        for group in _groups(problem, stream):
            timed = sorted(
                (
                    (costs.latency_ms(stream, route), route)
                    for route in group
                    if _otherwise_allowed(problem, stream, route)
                ),
                key=lambda entry: entry[0],
            )
            if timed and (fallback is None or timed[0][0] < fallback[0]):
                fallback = timed[0]
            if timed and not exceeds(timed[0][0], deadline_ms):
                if not self.as_printed or len(timed[0][1].devices) == 1:
                    return timed[0][1]
                printed = timed[0][1]
        if printed is not None:
            return printed
        return None if fallback is None else fallback[1]


def pool_cuts(problem: Problem, stream: Stream) -> list[int]:
    """Return the cuts after pooling layers and the two ends, ascending; every cut where there is no pooling."""
    blocks = problem.models[stream.model].blocks
    pools = [index + 1 for index, block in enumerate(blocks) if "pool" in block.name.lower()]
    return sorted({0, *(pools or range(1, len(blocks))), len(blocks)})


def _groups(problem: Problem, stream: Stream) -> Iterator[list[Route]]:
    """Yield groups of routes in the order of preference: less and less at the source, one helper before two."""
    cuts = pool_cuts(problem, stream)
    local = local_route(problem, stream)
    blocks = cuts[-1]
    if local is not None:
        yield [local]
    found = helpers(problem, stream)
    for cut in reversed(cuts[:-1]):
        if cut and stream.model not in problem.devices[stream.source].block_ms:
            continue
        yield [route for helper in found for route in split_routes(problem, stream, helper, cut)]
        for second in reversed([other for other in cuts if cut < other < blocks]):
            yield [
                route for pair in _pairs(problem, stream) for route in _three_way(problem, stream, pair, cut, second)
            ]


def _pairs(problem: Problem, stream: Stream) -> list[tuple[str, str]]:
    """Return ordered pairs of helpers: the first reached from the source, the second from the first."""
    costs = CostModel(problem)
    able = [
        name
        for name, device in problem.devices.items()
        if name != stream.source and stream.model in device.block_ms and problem.policy.devices.permits(name)
    ]
    return [
        (near, far)
        for near, far in permutations(able, 2)
        if costs.linked(stream.source, near)
        and costs.linked(near, far)
        and (stream.sink is None or costs.linked(far, stream.sink))
    ]


def _three_way(problem: Problem, stream: Stream, pair: tuple[str, str], cut: int, second: int) -> Iterator[Route]:
    """Yield the routes over two helpers, one for every choice of allowed encodings."""
    model = problem.models[stream.model]
    bounds = (0, cut, second, len(model.blocks))
    parts = [
        (start, stop, device)
        for (start, stop), device in zip(pairwise(bounds), (stream.source, *pair), strict=True)
        if start < stop
    ]
    offers = [allowed_encodings(model, stop, problem.policy) for _, stop, _ in parts]
    for chosen in product(*offers):
        yield sequential_route((*part, encoding.codec) for part, encoding in zip(parts, chosen, strict=True))


def _otherwise_allowed(problem: Problem, stream: Stream, route: Route) -> bool:
    """Say whether a route breaks no constraint but the deadline, which the algorithm itself checks."""
    if keeps_constraints(problem, stream, route):
        return True
    broken = violations(CostModel(problem), {stream.name: uniform(route, stream.jobs)})
    return all(violation.constraint is Constraint.DEADLINE for violation in broken)
