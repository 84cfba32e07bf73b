"""JSON values of comparisons and simulations."""

from dataclasses import replace

import pytest

from planning.files.problem_file import read_problem
from planning.problem.plan import Infeasible, Plan
from planning.simulation.scenario import LoadChange
from planning.simulation.simulation import simulate
from planning.strategies.registry import known_strategies
from services.cli.render.plan_values import applies, best_bound, comparison_values, gap, simulation_values
from tests.support.shared_paths import INSTANCES

PROBLEM = read_problem((INSTANCES / "alexnet_pi_cloud_wifi.json").read_bytes())


def solved(strategy: str) -> Plan:
    answer = known_strategies()[strategy].solve(PROBLEM, seed=0, time_budget_s=0.1)
    assert isinstance(answer, Plan)
    return answer


def test_the_gap_is_relative_to_the_best_bound() -> None:
    local, best = solved("local_only"), solved("shortest_path")
    answers: dict[str, Plan | Infeasible] = {"local_only": local, "shortest_path": best}
    assert best_bound(answers) == pytest.approx(best.cost)
    assert gap(3.0, 2.0) == pytest.approx(0.5)
    assert (gap(3.0, None), gap(3.0, 0.0), gap(1.0, 2.0)) == (None, None, 0.0)
    rows = {row["strategy"]: row for row in comparison_values(answers)["strategies"]}
    assert rows["shortest_path"]["gap"] == 0
    assert rows["local_only"]["gap"] == pytest.approx(local.cost / best.cost - 1)


def test_a_strategy_for_other_problems_does_not_apply() -> None:
    assert applies(solved("local_only"))
    for_delay_variance = known_strategies()["fair_ranks"].solve(PROBLEM, seed=0, time_budget_s=0.1)
    assert not applies(for_delay_variance)


def test_times_of_requests_that_never_end_are_null() -> None:
    plan = solved("shortest_path")
    whole = simulation_values(simulate(PROBLEM, plan, seed=0))
    gone = tuple(LoadChange(0.0, device, None) for device in PROBLEM.devices)
    stuck = simulation_values(simulate(PROBLEM, plan, seed=0, changes=gone))
    assert (whole["unfinished"], whole["latency_ms"]["max"]) == (0, pytest.approx(whole["makespan_ms"]))
    assert (stuck["unfinished"], stuck["makespan_ms"]) == (whole["requests"], None)
    assert stuck["timeline"][0]["end_ms"] is None


def test_no_request_has_no_latency() -> None:
    timeline = replace(simulate(PROBLEM, solved("local_only"), seed=0), requests=(), activities=())
    assert simulation_values(timeline)["latency_ms"] == {}
