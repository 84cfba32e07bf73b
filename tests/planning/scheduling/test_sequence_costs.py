"""Costs of jobs in their starting order are those of the cost model; limits of all jobs together are kept."""

import random

import pytest

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.problem.plan import Route, StreamPlan
from planning.problem.problem import Problem
from planning.scheduling.burst_planning import sequence_plan
from planning.scheduling.route_forms import RouteForms
from planning.scheduling.sequence_costs import Job, SequenceCosts
from planning.search.cost_tables import build_tables
from planning.search.result import policy_queues
from shared.policy import Objective
from tests.support.joint_problems import random_joint_problem


def _drawn_jobs(problem: Problem, rng: random.Random) -> tuple[list[Job], dict[str, StreamPlan], list[str]] | None:
    """Random jobs in random order, the same as plans and turns; None if no route was drawn."""
    forms = [RouteForms(problem, build_tables(problem, stream)) for stream in problem.streams]
    jobs: list[Job] = []
    for index, (stream, own) in enumerate(zip(problem.streams, forms, strict=True)):
        nodes = range(len(own.tables.nodes))
        drawn = [own.form(tuple(rng.choice(nodes) for _ in range(own.blocks)), (0,) * own.blocks) for _ in range(20)]
        possible = [form for form in drawn if form is not None]
        if not possible:
            return None
        jobs += [(index, rng.choice(possible)) for _ in range(stream.jobs)]
    rng.shuffle(jobs)
    routes: dict[str, list[Route]] = {stream.name: [] for stream in problem.streams}
    for index, form in jobs:
        routes[problem.streams[index].name].append(forms[index].route(form))
    plans = {name: sequence_plan(own) for name, own in routes.items()}
    return jobs, plans, [problem.streams[index].name for index, _ in jobs]


@pytest.mark.parametrize("objective", list(Objective))
def test_costs_are_those_of_the_cost_model(objective: Objective) -> None:
    rng = random.Random(objective.value)
    compared = 0
    for _ in range(120):
        problem = random_joint_problem(rng, objective)
        drawn = _drawn_jobs(problem, rng)
        if drawn is None:
            continue
        jobs, plans, turns = drawn
        costs, queues = CostModel(problem), policy_queues(problem, plans)
        expected = costs.cost(objective, plans, costs.predict(plans, queues, turns), queues, turns)
        evaluation = SequenceCosts(problem).evaluate(jobs)
        assert evaluation.cost == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert len(evaluation.blame) == len(jobs)
        compared += 1
    assert compared > 20


def test_jobs_fit_together_exactly_if_no_constraint_is_broken() -> None:
    rng = random.Random(1)
    outcomes = []
    for _ in range(400):
        problem = random_joint_problem(rng, Objective.LATENCY, constrained=True)
        drawn = _drawn_jobs(problem, rng)
        if drawn is not None:
            outcomes.append(SequenceCosts(problem).fits(drawn[0]))
            assert outcomes[-1] == (not violations(CostModel(problem), drawn[1]))
    assert outcomes.count(True) > 10
    assert outcomes.count(False) > 10
