"""Between the routes of strategies and the routes on the bus; and what routes cost. Pure."""

from collections.abc import Sequence
from functools import reduce
from math import gcd

from shared.messages.streams import PlanRoute, PlanStage
from shared.plan.constraints import violations
from shared.plan.cost import CostModel
from shared.plan.plan import Constraint, Route, StreamPlan, Violation, sequential_route
from shared.plan.policy import Objective
from shared.plan.problem import Problem

_UNITS = {
    Objective.LATENCY: "ms",
    Objective.THROUGHPUT: "ms per request",
    Objective.ENERGY: "J",
    Objective.MAKESPAN: "ms",
    Objective.DEADLINE: "blocks off the source",
    Objective.TOTAL_DELAY: "ms",
    Objective.DELAY_VARIANCE: "ms²",
}


class TiledRouteError(ValueError):
    """A strategy has split a stage over several devices, which executors cannot run."""


def to_message(problem: Problem, routes: Sequence[Route]) -> tuple[PlanRoute, ...]:
    """Return a strategy's routes as they travel: weights without a common factor, latency predicted per route.

    Raises:
        TiledRouteError: a stage is split over several devices.
    """
    costs, stream = CostModel(problem), problem.streams[0]
    common = reduce(gcd, (route.jobs for route in routes))
    found: list[PlanRoute] = []
    for route in routes:
        if any(len(stage.tiles) != 1 for stage in route.stages):
            raise TiledRouteError("the strategy splits a stage into tiles, which executors cannot run")
        stages = tuple(
            PlanStage(start=stage.start, stop=stage.stop, device=stage.device, codec=stage.codec)
            for stage in route.stages
        )
        latency_ms = costs.latency_ms(stream, route)
        found.append(PlanRoute(stages=stages, weight=route.jobs // common, predicted_ms=latency_ms))
    return tuple(found)


def to_plan(problem: Problem, routes: Sequence[PlanRoute]) -> dict[str, StreamPlan]:
    """Return routes from the bus as a plan for the problem's only stream, as many jobs as the stream has."""
    stream = problem.streams[0]
    scale = max(1, stream.jobs // sum(route.weight for route in routes))
    plain = tuple(
        sequential_route(
            ((stage.start, stage.stop, stage.device, stage.codec) for stage in route.stages), route.weight * scale
        )
        for route in routes
    )
    return {stream.name: StreamPlan(plain, tuple(range(sum(route.jobs for route in plain))))}


def cost_of(problem: Problem, routes: Sequence[PlanRoute]) -> float:
    """Return what the problem's objective makes small, for these routes.

    Raises:
        KeyError: a device is not in the problem or cannot run the model.
        NoLinkError: two neighbouring devices are not linked.
    """
    costs, plans = CostModel(problem), to_plan(problem, routes)
    return costs.cost(problem.policy.objective, plans, costs.predict(plans))


def broken_constraints(problem: Problem, routes: Sequence[PlanRoute]) -> tuple[Violation, ...]:
    """Return every constraint that these routes break, devices that are gone included."""
    model = problem.streams[0].model
    blocks = len(problem.models[model].blocks)
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
    """Return every device that computes on these routes, once, in order of first use."""
    return tuple(dict.fromkeys(stage.device for route in routes for stage in route.stages))


def same_routes(first: Sequence[PlanRoute], second: Sequence[PlanRoute]) -> bool:
    """Say whether requests would run in the same way, whatever was predicted."""
    return {(route.stages, route.weight) for route in first} == {(route.stages, route.weight) for route in second}


def describe_routes(routes: Sequence[PlanRoute]) -> str:
    """Return routes as people read them: ``pi[0,4) > server[4,9)``."""
    return " | ".join(
        " > ".join(f"{stage.device}[{stage.start},{stage.stop})" for stage in route.stages) for route in routes
    )


def describe_cost(objective: Objective, cost: float) -> str:
    """Return a cost with its unit."""
    return f"{cost:.3g} {_UNITS[objective]}" if cost < 100 else f"{cost:.0f} {_UNITS[objective]}"
