import random
from dataclasses import replace

import pytest

from planning.cost.cost_model import CostModel
from planning.problem.plan import Plan
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.scheduling.burst_bounds import burst_bound
from planning.scheduling.column_generation import mix_routes
from planning.scheduling.restricted_bounds import raised_bound, restricted_bound
from planning.search.cached_costs import CachedCosts
from planning.search.cost_tables import build_tables
from planning.search.device_network import DeviceNetwork
from planning.strategies.registry import solve
from shared.policy import Objective, Policy
from tests.support.brute_force import TooLargeError, least_cost
from tests.support.small_problems import every_combination, small_problem

# Random problems per objective.
PROBLEMS = 8

BOUNDED = (Objective.THROUGHPUT, Objective.MAKESPAN, Objective.TOTAL_DELAY)


@pytest.mark.parametrize("objective", BOUNDED)
def test_no_plan_is_below_the_bound_whatever_the_cost_that_it_starts_from(objective: Objective) -> None:
    # Bounds of routes that run whole stages; tests/planning/strategies/test_proofs.py has the others.
    choices = [features for features in every_combination(objective) if not features.rows]
    rng = random.Random(f"restricted {objective}")
    checked = raised = 0
    while checked < PROBLEMS:
        problem = small_problem(rng, rng.choice(choices))
        try:
            best = least_cost(problem, most_plans=200)
        except TooLargeError:
            continue
        if best is None:
            continue
        checked += 1
        tables, costs = [build_tables(problem, stream) for stream in problem.streams], CachedCosts(CostModel(problem))
        plain = burst_bound(problem, tables, mix_routes(problem, tables)) or 0.0
        for cost in (best, 1.3 * best):
            bound = restricted_bound(problem, tables, costs, known=0.0, cost=cost, time_budget_s=0.1)
            assert bound <= best * (1 + 1e-7) + 1e-9
            raised += bound > plain * 1.001
    assert raised


def _two_jobs() -> Problem:
    """Two jobs, a quick device with room for one of them in time, and a slow one that a fractional mix would use."""
    devices = {"quick": Device({"m": (10.0,)}), "slow": Device({"m": (30.0,)})}
    streams = (Stream("a", "m", "quick"), Stream("b", "m", "quick"))
    link = Link("quick", "slow", 1e6)
    return Problem({"m": Model(1.0, (Block("only", 1.0),))}, devices, (link,), streams, Policy(Objective.MAKESPAN))


@pytest.mark.parametrize("objective", BOUNDED)
def test_a_device_that_is_too_slow_for_a_whole_job_takes_no_part_of_one(objective: Objective) -> None:
    problem = _two_jobs()
    problem = replace(problem, policy=replace(problem.policy, objective=objective))
    tables, costs = [build_tables(problem, stream) for stream in problem.streams], CachedCosts(CostModel(problem))
    best = {Objective.THROUGHPUT: 10.0, Objective.MAKESPAN: 20.0, Objective.TOTAL_DELAY: 30.0}[objective]
    plain = burst_bound(problem, tables, mix_routes(problem, tables))
    assert plain is not None
    assert plain < 0.95 * best
    bound = restricted_bound(problem, tables, costs, known=plain, cost=best, time_budget_s=1.0)
    assert bound == pytest.approx(best)
    answer = solve(problem)
    assert isinstance(answer, Plan)
    assert answer.optimal
    assert answer.cost == pytest.approx(best)


def test_other_objectives_and_large_problems_keep_their_bound() -> None:
    problem = _two_jobs()
    network, costs = DeviceNetwork(problem), CostModel(problem)
    assert raised_bound(network, costs, None, 20.0, 1.0) == pytest.approx(20.0)
    # The budget pays for 40 streams per second.
    assert raised_bound(network, costs, 3.0, 20.0, 0.01) == 3.0
    other = replace(problem, policy=Policy(Objective.DELAY_VARIANCE))
    assert raised_bound(DeviceNetwork(other), CostModel(other), None, 20.0, 1.0) is None
    assert raised_bound(network, costs, 20.0, 20.0, 1.0) == 20.0
