"""Plans become jobs and back without a change of their cost, and come out no worse than they went in."""

import random
from dataclasses import replace

import pytest

from planning.cost.cost_model import CostModel
from planning.problem.plan import Plan
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.scheduling.plan_finishing import PlanFinishing, finished, is_searched
from planning.search.device_network import DeviceNetwork
from planning.search.nested_budgets import nested_budgets
from planning.search.result import make_plan
from planning.strategies.registry import strategies
from shared.policy import Objective
from tests.support.joint_problems import random_joint_problem


def _planned(rng: random.Random, objective: Objective) -> tuple[Problem, Plan] | None:
    problem = random_joint_problem(rng, objective, constrained=rng.random() < 0.5)
    answer = strategies()["shortest_path"].solve(problem, seed=0, time_budget_s=0.1)
    return (problem, answer) if isinstance(answer, Plan) else None


@pytest.mark.parametrize("objective", list(Objective))
def test_a_plan_keeps_its_cost(objective: Objective) -> None:
    """Random turns are part of the plan."""
    rng = random.Random(objective.value)
    kept = 0
    for _ in range(40):
        planned = _planned(rng, objective)
        if planned is None:
            continue
        problem, plan = planned
        turns = [stream.name for stream in problem.streams for _ in range(stream.jobs)]
        rng.shuffle(turns)
        before = make_plan(problem, "test", plan.streams, turns=turns)
        finishing = PlanFinishing(DeviceNetwork(problem), seed=0)
        finishing.add(plan.streams, turns)
        same = finishing.improved(0)
        assert same is not None
        after = make_plan(problem, "test", same[0], turns=same[1])
        assert isinstance(before, Plan)
        assert isinstance(after, Plan)
        assert after.cost == pytest.approx(before.cost, rel=1e-9, abs=1e-9)
        kept += 1
    assert kept > 5


@pytest.mark.parametrize("objective", list(Objective))
def test_finished_plans_keep_constraints_and_cost_no_more(objective: Objective) -> None:
    rng = random.Random(f"finished {objective.value}")
    for _ in range(12):
        planned = _planned(rng, objective)
        if planned is None:
            continue
        problem, plan = planned
        best = finished(
            "test", DeviceNetwork(problem), CostModel(problem), nested_budgets(0.1), [[plan]], plan.lower_bound, 0
        )
        again = make_plan(problem, "test", best.streams, turns=best.turns)
        assert isinstance(again, Plan)
        assert again.cost == pytest.approx(best.cost)
        assert best.cost <= plan.cost
        assert plan.lower_bound is None or best.cost >= plan.lower_bound * (1 - 1e-9)


def test_streams_of_one_model_count_once_whatever_their_sources() -> None:
    """Fifty cameras around one another are searched, as one camera among fifty devices is."""
    names = [f"d{index}" for index in range(50)]
    blocks = tuple(Block(f"b{index}", 1e4) for index in range(10))
    devices = {name: Device({"m": (1.0,) * len(blocks)}) for name in names}
    links = tuple(Link(one, two, 50.0) for one in names for two in names if one < two)
    streams = tuple(Stream(f"s{name}", "m", name) for name in names)
    problem = Problem({"m": Model(1e4, blocks)}, devices, links, streams)
    assert is_searched(DeviceNetwork(problem))
    assert not is_searched(DeviceNetwork(replace(problem, streams=tuple(replace(own, jobs=40) for own in streams))))
