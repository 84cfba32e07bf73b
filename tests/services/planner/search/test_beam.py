"""Beam searches: wide enough they are exact, and what they return keeps the constraints and costs what they say."""

import random
from collections.abc import Callable

import pytest

from services.planner.search.answers import uniform
from services.planner.search.beam import search_beam
from services.planner.search.bottleneck_search import search_bottleneck
from services.planner.search.chain_path import cheapest_path, cost_to_go
from services.planner.search.label_search import AdditiveJudge
from services.planner.search.limits import limits_of
from services.planner.search.tables import build_tables, latency_measure
from shared.plan.constraints import violations
from shared.plan.cost import CostModel
from shared.plan.policy import Objective
from shared.plan.problem import Problem


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
            assert violations(costs, {"s": uniform(route, 1)}) == ()
            assert found.cost == pytest.approx(max(costs.busy_ms(stream, route).values(), default=0.0))
            checked += 1
    assert checked > 20
