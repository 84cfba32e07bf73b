"""Estimates of bursts in batches, against the simulation of every job."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from planning.cost.cost_model import CostModel
from planning.problem.plan import Plan, Route, StreamPlan
from planning.problem.problem import Problem
from planning.search.batched_costs import BatchedCosts
from planning.search.bounded_costs import BoundedCosts, SimulationBudget
from planning.search.cached_costs import CachedCosts
from planning.search.result import make_plan
from planning.strategies.exhaustive import every_route
from shared.policy import Objective, QueueDiscipline

JOBS = 3000


def _burst(make_problem: Callable[..., Problem], seed: int) -> tuple[Problem, dict[str, StreamPlan]]:
    """A burst over up to four routes in an order drawn at random."""
    rng = random.Random(f"batches {seed}")
    problem = make_problem(rng, Objective.TOTAL_DELAY, most_blocks=3)
    problem = replace(problem, streams=(replace(problem.streams[0], jobs=JOBS),))
    stages = [route.stages for route in every_route(problem, problem.streams[0])]
    chosen = rng.sample(stages, min(4, len(stages)))
    share = JOBS // len(chosen)
    routes = (Route(chosen[0], JOBS - share * (len(chosen) - 1)), *(Route(own, share) for own in chosen[1:]))
    order = list(range(JOBS))
    rng.shuffle(order)
    return problem, {"s": StreamPlan(routes, tuple(order))}


@pytest.mark.parametrize("seed", range(6))
def test_estimates_are_near_the_simulation(make_problem: Callable[..., Problem], seed: int) -> None:
    problem, plans = _burst(make_problem, seed)
    exact = CostModel(problem)
    batched = BatchedCosts(exact, 5)
    ends_ms, estimates_ms = exact.delays_ms(plans), batched.delays_ms(plans)
    assert batched.is_estimate
    assert len(estimates_ms) == JOBS
    assert max(estimates_ms) == pytest.approx(max(ends_ms), rel=0.02)
    assert sum(estimates_ms) == pytest.approx(sum(ends_ms), rel=0.05)


def test_batches_of_one_job_are_the_simulation(make_problem: Callable[..., Problem]) -> None:
    problem, plans = _burst(make_problem, 0)
    exact = CostModel(problem)
    assert BatchedCosts(exact, 1).delays_ms(plans) == pytest.approx(exact.delays_ms(plans))


def test_disciplines_hold_for_batches(make_problem: Callable[..., Problem]) -> None:
    problem, plans = _burst(make_problem, 1)
    queues = dict.fromkeys(problem.devices, QueueDiscipline.SHORTEST_JOB_FIRST)
    exact = CostModel(problem)
    estimates_ms = BatchedCosts(exact, 20).delays_ms(plans, queues)
    assert max(estimates_ms) == pytest.approx(max(exact.delays_ms(plans, queues)), rel=0.05)


def test_figures_of_routes_are_exact(make_problem: Callable[..., Problem]) -> None:
    problem, plans = _burst(make_problem, 2)
    exact = CostModel(problem)
    predicted, estimated = exact.predict(plans), BatchedCosts(exact, 50).predict(plans)
    assert replace(estimated, makespan_ms=predicted.makespan_ms) == predicted


def test_a_plan_says_that_its_times_are_estimates(make_problem: Callable[..., Problem]) -> None:
    problem, plans = _burst(make_problem, 3)
    costs = BoundedCosts(CachedCosts(CostModel(problem)), SimulationBudget(0.0, last_events=300.0))
    chosen = make_plan(problem, "any", plans, costs=costs)
    assert isinstance(chosen, Plan)
    estimated = costs.completed(chosen)
    assert estimated.estimated
    exact = costs.completed(estimated, most_events=1e9)
    assert not exact.estimated
    assert exact.cost == sum(CostModel(problem).delays_ms(plans))
    assert estimated.cost == pytest.approx(exact.cost, rel=0.1)
