"""An oracle for small problems: every assignment of blocks to devices and every encoding, one route per stream."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import ClassVar

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.problem.crossings import allowed_encodings
from planning.problem.plan import Constraint, Infeasible, Plan, Route, StreamPlan, Violation, sequential_route
from planning.problem.problem import Problem, Stream
from planning.search.cached_costs import CachedCosts
from planning.search.infeasibility import no_joint_plan
from planning.search.planning_context import PlanningContext
from planning.search.result import make_plan, policy_queues, same_route_for_all
from planning.strategies.traits import ALL_OBJECTIVES, CostClass, Joint, Traits, Trial
from shared.policy import Objective

# Plans per second of time budget, for USUAL_JOBS jobs or fewer; more jobs take longer to simulate.
PLANS_PER_SECOND = 3_000

USUAL_JOBS = 4


@dataclass(frozen=True, slots=True)
class Exhaustive:
    """Comparison of all plans with one route per stream by the common cost prediction.

    The work is exponential; problems beyond the time budget are unsupported. The result is exact for latency and
    energy. For throughput and deadline it is exact if every stream has one job, and for the other objectives with a
    single job. Several jobs may start in more orders than the one that is tried.
    """

    traits: ClassVar[Traits] = Traits(
        objectives=ALL_OBJECTIVES, cost_class=CostClass.SEARCH, exact=True, joint=Joint.IN_A_PROBLEM
    )

    name: str = "exhaustive"
    description: str = "compares every assignment of blocks and encodings; small problems only"
    citation: str = "brute force"
    trial: Trial | None = field(default=Trial(turn=230))

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the best of all plans."""
        objective = problem.policy.objective
        jobs = sum(stream.jobs for stream in problem.streams)
        limit = int((1000 + PLANS_PER_SECOND * time_budget_s) * min(1.0, USUAL_JOBS / jobs))
        size = search_size(problem)
        if size > limit:
            message = f"exhaustive would compare about {size:.3g} plans, more than the {limit} of its time budget"
            return Infeasible(self.name, objective, (Violation(Constraint.SUPPORT, self.name, message, limit, size),))
        # Of the oracle's own: the cost model of a context may leave out simulations.
        costs = CachedCosts(CostModel(problem))
        best: tuple[float, float, dict[str, StreamPlan]] | None = None
        choices = [
            [same_route_for_all(route, stream.jobs) for route in every_route(problem, stream)]
            for stream in problem.streams
        ]
        for choice in product(*choices):
            plans = {stream.name: plan for stream, plan in zip(problem.streams, choice, strict=True)}
            if violations(costs, plans):
                continue
            queues = policy_queues(problem, plans)
            predicted = costs.predict(plans, queues)
            rank = costs.cost(objective, plans, predicted, queues), predicted.latency_ms
            if best is None or rank < best[:2]:
                best = (*rank, plans)
        if best is None:
            return no_joint_plan(problem, self.name, time_budget_s)
        whole = all(stream.jobs == 1 for stream in problem.streams)
        if objective not in (Objective.THROUGHPUT, Objective.DEADLINE):
            whole = (whole and len(problem.streams) == 1) or objective in (Objective.LATENCY, Objective.ENERGY)
        return make_plan(problem, self.name, best[2], optimal=whole, costs=costs)


def search_size(problem: Problem) -> float:
    """Return an upper bound of the number of plans, as if all devices were linked."""
    sizes: dict[tuple[str, bool], float] = {}
    for stream in problem.streams:
        key = stream.model, stream.sink is not None
        if key not in sizes:
            devices = max(1, len(_devices(problem, stream)))
            model = problem.models[stream.model]
            offers = [len(allowed_encodings(model, cut, problem.policy)) for cut in range(1, len(model.blocks) + 1)]
            per_cut = [1 + (devices - 1) * offer for offer in offers[:-1]]
            sizes[key] = float(devices) * prod(map(float, per_cut)) * (offers[-1] if stream.sink else 1)
    return prod(sizes[stream.model, stream.sink is not None] for stream in problem.streams)


def _devices(problem: Problem, stream: Stream) -> tuple[str, ...]:
    return tuple(
        name
        for name, device in problem.devices.items()
        if stream.model in device.block_ms and problem.policy.devices.permits(name)
    )


def every_route(problem: Problem, stream: Stream) -> Iterator[Route]:
    """Yield every route for one job over linked devices that the policy permits, in every encoding that it allows."""
    model, costs = problem.models[stream.model], CostModel(problem)
    blocks = len(model.blocks)
    for assignment in product(_devices(problem, stream), repeat=blocks):
        stops = [*(cut for cut in range(1, blocks) if assignment[cut] != assignment[cut - 1]), blocks]
        starts = [0, *stops[:-1]]
        devices = [assignment[start] for start in starts]
        # Without a sink the result stays where the last block runs, and nothing is sent.
        receivers = [*devices[1:], devices[-1] if stream.sink is None else stream.sink]
        senders = [stream.source, *devices]
        if not all(costs.linked(*pair) for pair in zip(senders, [devices[0], *receivers], strict=True)):
            continue
        offers = [
            ["raw"]
            if device == receiver
            else [encoding.codec for encoding in allowed_encodings(model, stop, problem.policy)]
            for stop, device, receiver in zip(stops, devices, receivers, strict=True)
        ]
        for codecs in product(*offers):
            yield sequential_route(zip(starts, stops, devices, codecs, strict=True))
