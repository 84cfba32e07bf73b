"""A wide beam is exact, and its routes keep the constraints and have the costs that it returns."""

import random
from collections.abc import Callable

import pytest

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.problem.problem import Problem
from planning.search.beam import search_beam
from planning.search.bottleneck_search import search_bottleneck
from planning.search.chain_path import cheapest_path, cost_to_go
from planning.search.cost_tables import build_tables, latency_measure
from planning.search.label_search import AdditiveJudge
from planning.search.limits import limits_of
from planning.search.result import same_route_for_all
from shared.policy import Objective


@pytest.mark.parametrize("width", [2, 64])
def test_without_constraints_the_cost_to_go_leads_straight_to_the_best(
    make_problem: Callable[..., Problem], width: int
) -> None:
    rng = random.Random("beam")
    for index in range(60):
        problem = make_problem(rng, Objective.LATENCY, codecs=index % 2 == 0)
        tables = build_tables(problem, problem.streams[0])
        measure = latency_measure(tables)
        togo = cost_to_go(measure)
        limits = limits_of(problem, tables, 1.0)
        found = search_beam(tables, measure, togo, limits, AdditiveJudge(measure, togo), width, 1)
        best = cheapest_path(measure)
        assert (best is None) == (not found)
        if best is not None:
            assert found[0].cost == pytest.approx(best.cost)


def test_a_bottleneck_beam_keeps_the_constraints(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("bottleneck beam")
    checked = 0
    for index in range(80):
        problem = make_problem(rng, Objective.THROUGHPUT, constrained=True, codecs=index % 2 == 0)
        stream, costs = problem.streams[0], CostModel(problem)
        tables = build_tables(problem, stream)
        measure = latency_measure(tables)
        limits = limits_of(problem, tables, 0.0)
        found = search_bottleneck(tables, measure, cost_to_go(measure), limits).path
        if found is not None:
            route = tables.route(found.devices, found.codecs, 1)
            assert violations(costs, {"s": same_route_for_all(route, 1)}) == ()
            assert found.cost == pytest.approx(max(costs.busy_ms(stream, route).values(), default=0.0))
            checked += 1
    assert checked > 20
