"""Curves of cuts predict and bound bursts, and plans along them start jobs in the order that was asked for."""

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations_with_replacement

import pytest

from planning.cost.cost_model import CostModel
from planning.problem.plan import Route, sequential_route
from planning.problem.problem import Problem
from planning.scheduling.burst_planning import (
    burst_curves,
    grouped_plan,
    indexed_plan,
    ordered_burst,
    sequence_plan,
)
from planning.search.two_device_splits import split_table
from shared.policy import Objective

ROUTES = tuple(sequential_route([(0, 1, name, "raw")]) for name in ("a", "b", "c"))


def _in_order(routes: tuple[Route, ...], order: tuple[int, ...]) -> list[str]:
    """Return the device of every job in the order of their starts."""
    jobs = [route.stages[0].device for route in routes for _ in range(route.jobs)]
    return [jobs[number] for number in order]


def test_plans_start_jobs_in_the_order_given() -> None:
    plan = indexed_plan(ROUTES, [2, 0, 2, 0, 0])
    assert _in_order(plan.routes, plan.order) == ["c", "a", "c", "a", "a"]
    assert [route.jobs for route in plan.routes] == [2, 3]
    plan = sequence_plan([ROUTES[1], ROUTES[0], replace(ROUTES[1])])
    assert _in_order(plan.routes, plan.order) == ["b", "a", "b"]
    assert len(plan.routes) == 2, "equal routes are one route"
    plan = grouped_plan([(ROUTES[0], 2), (ROUTES[2], 1)])
    assert _in_order(plan.routes, plan.order) == ["a", "a", "c"]


def test_curves_predict_one_cut_and_bound_all_mixes(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("curves")
    compared = 0
    for _ in range(60):
        problem = make_problem(rng, Objective.MAKESPAN, codecs=rng.random() < 0.5, most_blocks=4)
        stream = replace(problem.streams[0], sink=None, jobs=3)
        problem = replace(problem, streams=(stream,))
        costs = CostModel(problem)
        for curve in burst_curves(split_table(problem, stream)).values():
            places = range(len(curve.chosen))
            by_mix = {
                mix: costs.makespan_ms({stream.name: ordered_burst(curve, mix)})
                for mix in combinations_with_replacement(places, 3)
            }
            assert curve.uniform_ms(3).tolist() == pytest.approx([by_mix[place, place, place] for place in places])
            assert curve.bound_ms(3) <= min(by_mix.values()) * (1 + 1e-9)
            compared += len(by_mix)
    assert compared > 300
