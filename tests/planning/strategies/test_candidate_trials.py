"""Trials of real strategies: what ends them, what they leave, and what the clock leaves out."""

import random
import sys
from collections.abc import Callable
from dataclasses import replace
from math import inf

import pytest

from planning.cost.cost_model import CostModel
from planning.problem.plan import Plan
from planning.problem.problem import Problem
from planning.search.bounded_costs import BoundedCosts, SimulationBudget
from planning.search.cached_costs import CachedCosts
from planning.search.planning_context import context_of
from planning.search.search_clock import ENDLESS, SearchClock
from planning.strategies.candidate_trials import CandidateTrials
from planning.strategies.registry import known_strategies
from shared.policy import Objective

# Infinity ends every search.
OVER = SearchClock(lambda: inf, 1.0)


def _run(
    problem: Problem, names: tuple[str, ...], clock: SearchClock = ENDLESS, *, has_plan: bool = False
) -> tuple[object, CandidateTrials]:
    trials = CandidateTrials("auto", 0.1, clock)
    costs = BoundedCosts(CachedCosts(CostModel(problem)), SimulationBudget.of_seconds(0.1))
    chosen = [known_strategies()[name] for name in names]
    return trials.run(chosen, context_of(problem), costs, seed=0, once={}, has_plan=has_plan), trials


def _burst(make_problem: Callable[..., Problem]) -> Problem:
    problem = make_problem(random.Random("trials"), Objective.MAKESPAN, most_blocks=4)
    return replace(problem, streams=(replace(problem.streams[0], jobs=5),))


def test_a_proof_ends_the_trials(make_problem: Callable[..., Problem]) -> None:
    problem = make_problem(random.Random("trials"), Objective.LATENCY, most_blocks=4)
    answer, trials = _run(problem, ("shortest_path", "neurosurgeon"))
    assert isinstance(answer, Plan)
    assert answer.optimal
    assert trials.plans == []


def test_the_clock_waits_for_the_first_plan(make_problem: Callable[..., Problem]) -> None:
    answer, trials = _run(_burst(make_problem), ("shortest_path", "jps", "hps"), OVER)
    assert answer is None
    assert [plan.strategy for plan in trials.plans] == ["shortest_path"]
    assert trials.left_out == ["jps", "hps"]


def test_nothing_is_waited_for_where_there_is_a_plan(make_problem: Callable[..., Problem]) -> None:
    answer, trials = _run(_burst(make_problem), ("shortest_path", "jps"), OVER, has_plan=True)
    assert answer is None
    assert trials.plans == []
    assert trials.left_out == ["shortest_path", "jps"]


def test_candidates_of_other_objectives_are_not_tried(make_problem: Callable[..., Problem]) -> None:
    answer, trials = _run(_burst(make_problem), ("milp", "mixed_routes"))
    assert answer is None
    assert [plan.strategy for plan in trials.plans] == ["mixed_routes"]
    assert trials.bound == trials.plans[0].lower_bound
    assert trials.left_out == []


def test_a_fault_of_one_strategy_keeps_no_other_from_planning(
    make_problem: Callable[..., Problem], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As of the planner in a container whose SciPy could not be imported."""
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    problem = _burst(make_problem)
    problem = replace(problem, policy=replace(problem.policy, objective=Objective.TOTAL_DELAY))
    answer, trials = _run(problem, ("rank_assignment", "shortest_path"))
    assert answer is None
    assert [plan.strategy for plan in trials.plans] == ["shortest_path"]
    assert trials.left_out == ["rank_assignment"]
    assert trials.failures == []
    assert trials.reasons()[0].message == "rank_assignment failed, or did not fit into the time budget"
    assert "strategy rank_assignment failed: ModuleNotFoundError: import of scipy.optimize halted" in caplog.text
