"""The best single cut, with and without the load of the server."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.problem.plan import Plan, Route
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.search.result import same_route_for_all
from planning.strategies.exhaustive import every_route
from planning.strategies.neurosurgeon import Neurosurgeon
from shared.policy import Objective, Policy


def _single_cuts(problem: Problem) -> Sequence[Route]:
    """Return the routes over the source and at most one other device, in that order, that keep the constraints."""
    stream, costs = problem.streams[0], CostModel(problem)
    return [
        route
        for route in every_route(problem, stream)
        if (len(route.stages) == 1 or (len(route.stages) == 2 and route.stages[0].device == stream.source))
        and not violations(costs, {"s": same_route_for_all(route, 1)})
    ]


@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.ENERGY])
def test_no_single_cut_is_better(objective: Objective, make_problem: Callable[..., Problem]) -> None:
    rng, solved = random.Random(f"neurosurgeon {objective}"), 0
    for index in range(40):
        problem = make_problem(rng, objective, constrained=index % 2 == 0, codecs=True, most_blocks=3)
        answer = Neurosurgeon(server_load_aware=True).solve(problem, seed=0, time_budget_s=0.1)
        if isinstance(answer, Plan):
            costs, stream = CostModel(problem), problem.streams[0]
            price = costs.latency_ms if objective is Objective.LATENCY else costs.energy_j
            assert answer.cost == pytest.approx(min(price(stream, route) for route in _single_cuts(problem)))
            solved += 1
        else:
            assert not _single_cuts(problem)
    assert solved > 20


def test_only_the_variant_counts_the_load_of_the_server() -> None:
    devices = {"camera": Device({"m": (10.0, 10.0)}), "server": Device({"m": (1.0, 1.0)}, load_factor=100.0)}
    model = Model(1e4, (Block("a", 1e4), Block("b", 1e3)))
    links = (Link("camera", "server", 100.0),)
    problem = Problem({"m": model}, devices, links, (Stream("s", "m", "camera"),), Policy())

    def devices_of(strategy: Neurosurgeon, problem: Problem) -> tuple[str, ...]:
        answer = strategy.solve(problem, seed=0, time_budget_s=0.1)
        assert isinstance(answer, Plan)
        return answer.streams["s"].routes[0].devices

    assert devices_of(Neurosurgeon(), problem) == ("server",)
    assert devices_of(Neurosurgeon(server_load_aware=True), problem) == ("camera",)
    idle = replace(problem, devices={**devices, "server": replace(devices["server"], load_factor=1.0)})
    assert devices_of(Neurosurgeon(), idle) == devices_of(Neurosurgeon(server_load_aware=True), idle)
