"""Routes on the bus: conversion from and to the routes of strategies, costs, and broken constraints."""

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import groupby
from math import gcd

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.cost.route_costs import NoLinkError
from planning.problem.plan import Constraint, Plan, Route, Stage, StreamPlan, Tile, Violation
from planning.problem.problem import Problem
from planning.tiles.rows import UntileableError
from shared.messages.bounds import MAX_TILES
from shared.messages.streams import PlanRoute, PlanStage, PlanTile, route_text
from shared.policy import Objective

_UNITS = {
    Objective.LATENCY: "ms",
    Objective.THROUGHPUT: "ms per request",
    Objective.ENERGY: "J",
    Objective.MAKESPAN: "ms",
    Objective.DEADLINE: "blocks off the source",
    Objective.TOTAL_DELAY: "ms",
    Objective.DELAY_VARIANCE: "ms²",
}

# Bound on the runs of equal routes in a burst. A burst with more runs is started route by route, out of order.
MAX_RUNS = 64

# Errors of `joint_cost` for routes that do not suit a problem: a device or a link is gone, or stages must not be split.
MISFITS = (KeyError, NoLinkError, UntileableError)

# Routes by stream.
StreamRoutes = Mapping[str, Sequence[PlanRoute]]


class TiledRouteError(ValueError):
    """A plan splits a stage in a way that executors cannot run; the text says why."""


def burst_jobs(problem: Problem) -> int:
    """Return the number of requests of a burst of the problem's only stream, started in the order of the plan.

    It is 1 for the objective throughput, which is about a steady rate.
    """
    return 1 if problem.policy.objective is Objective.THROUGHPUT else problem.streams[0].jobs


def tiles_fault(plan: Plan) -> str | None:
    """Return why executors cannot run the tiles of a plan; None if they can, or if it has none."""
    for each in plan.streams.values():
        for route in each.routes:
            try:
                _stages_of(route)
            except TiledRouteError as error:
                return str(error)
    return None


def to_message(problem: Problem, plan: StreamPlan) -> tuple[PlanRoute, ...]:
    """Return a strategy's routes in the form of messages, with the predicted latency of each.

    The routes of a burst are in the order in which its jobs start, with one entry per run of jobs on the same route.
    Other routes have weights without a common factor.

    Raises:
        TiledRouteError: executors cannot run a stage's tiles.
    """
    if burst_jobs(problem) > 1:
        routes, common = _runs(plan), 1
    else:
        routes, common = plan.routes, reduce(gcd, (route.jobs for route in plan.routes))
    costs, stream = CostModel(problem), problem.streams[0]
    found: list[PlanRoute] = []
    for route in routes:
        stages = _stages_of(route)
        latency_ms = costs.latency_ms(stream, route)
        found.append(PlanRoute(stages=stages, weight=route.jobs // common, predicted_ms=latency_ms))
    return tuple(found)


def _stages_of(route: Route) -> tuple[PlanStage, ...]:
    """Return the stages of a route in the form of messages.

    Raises:
        TiledRouteError: executors cannot run a stage's tiles.
    """
    for place, stage in (("first", route.stages[0]), ("last", route.stages[-1])):
        if stage.tiled:
            raise TiledRouteError(f"its {place} stage is split into tiles, and executors run it on one device only")
    for stage in route.stages:
        if len(stage.tiles) > MAX_TILES:
            raise TiledRouteError(f"a stage has {len(stage.tiles)} tiles, and executors run {MAX_TILES} at most")
    stages = []
    for stage in route.stages:
        # In the order of their rows, so that equal plans are equal.
        tiles = sorted(stage.tiles, key=lambda tile: tile.rows or (0, 0)) if stage.tiled else []
        stages.append(
            PlanStage(
                start=stage.start,
                stop=stage.stop,
                device=stage.tiles[0].device if not tiles else tiles[0].device,
                codec=stage.codec,
                tiles=tuple(PlanTile(device=tile.device, rows=tile.rows) for tile in tiles if tile.rows is not None),
            )
        )
    return tuple(stages)


def _runs(plan: StreamPlan) -> tuple[Route, ...]:
    """Return the routes of a burst in the order in which its jobs start, successive jobs of a route as one entry."""
    runs = [Route(route.stages, sum(1 for _ in same)) for route, same in groupby(plan.jobs_in_order())]
    if len(runs) <= MAX_RUNS:
        return tuple(runs)
    totals: dict[Route, int] = {}
    for run in runs:
        unweighted = Route(run.stages)
        totals[unweighted] = totals.get(unweighted, 0) + run.jobs
    return tuple(Route(route.stages, jobs) for route, jobs in totals.items())


def to_route(route: PlanRoute, jobs: int = 1) -> Route:
    """Return a route from the bus in the form of strategies and the cost model, for that many jobs."""
    return Route(
        tuple(
            Stage(
                stage.start,
                stage.stop,
                tuple(Tile(tile.device, tile.rows) for tile in stage.tiles) or (Tile(stage.device),),
                stage.codec,
            )
            for stage in route.stages
        ),
        jobs,
    )


def to_plan(problem: Problem, routes: Sequence[PlanRoute]) -> dict[str, StreamPlan]:
    """Return routes from the bus as a plan for the problem's only stream, scaled to its number of jobs."""
    return to_joint_plan(problem, {problem.streams[0].name: routes})


def to_joint_plan(problem: Problem, routes: StreamRoutes) -> dict[str, StreamPlan]:
    """Return the routes of several streams as a plan, scaled to the number of jobs of each stream.

    Raises:
        KeyError: the problem has no such stream.
    """
    plans: dict[str, StreamPlan] = {}
    for name, own in routes.items():
        # Weights have no common factor; the cost model counts whole jobs.
        scale = max(1, problem.stream(name).jobs // sum(route.weight for route in own))
        plain = tuple(to_route(route, route.weight * scale) for route in own)
        plans[name] = StreamPlan(plain, tuple(range(sum(route.jobs for route in plain))))
    return plans


def joint_cost(problem: Problem, routes: StreamRoutes) -> float:
    """Return the cost of these routes of all streams together, by the problem's objective and in its unit.

    Devices serve their queues by the discipline of the policy.

    Raises:
        KeyError: a device is not in the problem or cannot run the model, or the problem has no such stream.
        NoLinkError: two neighbouring devices are not linked.
        UntileableError: a stage has tiles that the problem does not allow.
    """
    costs, plans = CostModel(problem), to_joint_plan(problem, routes)
    used = (device for own in routes.values() for device in devices_of(own))
    disciplines = dict.fromkeys(used, problem.policy.queue)
    return costs.cost(problem.policy.objective, plans, costs.predict(plans, disciplines), disciplines)


def broken_constraints(problem: Problem, routes: Sequence[PlanRoute]) -> tuple[Violation, ...]:
    """Return every constraint that routes of the problem's only stream break; a lost device is one, too."""
    model = problem.streams[0].model
    blocks = len(problem.models[model].blocks)
    # Costs are undefined for a lost device and for blocks that the model does not have, so these come first.
    gone = [
        Violation(Constraint.ROUTE, device, f"device {device} is gone")
        for device in devices_of(routes)
        if device not in problem.devices
    ]
    if gone:
        return tuple(gone)
    if any(route.stages[-1].stop != blocks for route in routes):
        return (Violation(Constraint.ROUTE, model, "the routes are those of another model"),)
    return violations(CostModel(problem), to_plan(problem, routes))


def devices_of(routes: Sequence[PlanRoute]) -> tuple[str, ...]:
    """Return the devices that compute on these routes, each once, in order of first use."""
    return tuple(dict.fromkeys(device for route in routes for stage in route.stages for device in stage.devices))


def same_routes(first: Sequence[PlanRoute], second: Sequence[PlanRoute], *, in_order: bool = False) -> bool:
    """Return whether requests run in the same way on both; predicted latencies do not count.

    Args:
        first: routes of a stream.
        second: routes of the same stream.
        in_order: the order of the routes matters, as it does for a burst.
    """
    mine, others = ([(route.stages, route.weight) for route in routes] for routes in (first, second))
    return mine == others if in_order else set(mine) == set(others)


def describe_routes(routes: Sequence[PlanRoute]) -> str:
    """Return routes as text, such as ``pi[0,4) > server[4,9)``."""
    return " | ".join(map(route_text, routes))


def describe_cost(objective: Objective, cost: float) -> str:
    """Return a cost with its unit."""
    return f"{cost:.3g} {_UNITS[objective]}" if cost < 100 else f"{cost:.0f} {_UNITS[objective]}"
