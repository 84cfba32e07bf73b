"""Fairness among streams that share a server."""

import random
from dataclasses import replace
from itertools import product

import pytest

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.problem.plan import Constraint, Infeasible, Plan
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.scheduling.shared_server import offloads, task_plans
from planning.search.result import policy_queues
from planning.strategies.fair_ranks import FairRanks
from planning.strategies.registry import solve, with_strategy
from shared.policy import Objective, Policy, QueueDiscipline

GREEDY = "kafetzis_koutsopoulos"
VARIANTS = [
    GREEDY,
    *(f"{GREEDY}:{kind}" for kind in ("from_ones", "from_half", "multistart", "event_driven", "pairwise")),
]
FAIR = [Objective.DELAY_VARIANCE, Objective.MAKESPAN]


def _problem(rng: random.Random, objective: Objective, queue: QueueDiscipline, count: int) -> Problem:
    blocks = tuple(Block(f"b{index}", rng.randint(1_000, 90_000), parameter_bytes=1_000) for index in range(4))
    names = [f"phone{index}" for index in range(count)]
    devices = {name: Device({"m": tuple(rng.uniform(2, 30) for _ in blocks)}) for name in names}
    devices["station"] = Device({"m": tuple(rng.uniform(2, 8) for _ in blocks)})
    links = tuple(Link(name, "station", rng.uniform(2, 40), 1.0) for name in names)
    streams = tuple(Stream(f"task{index}", "m", name) for index, name in enumerate(names))
    policy = Policy(objective=objective, queue=queue)
    return Problem({"m": Model(100_000, blocks)}, devices, links, streams, policy)


def _solve(problem: Problem, name: str) -> Plan | Infeasible:
    return solve(with_strategy(problem, name))


def _simulated_least(problem: Problem) -> float:
    """Return the least cost of all choices of one cut per stream at the station that are allowed."""
    tasks, costs = offloads(problem, "station"), CostModel(problem)
    assert tasks is not None
    values = []
    for choice in product(*(range(len(task.routes)) for task in tasks)):
        plans = task_plans(problem, tasks, choice)
        queues = policy_queues(problem, plans)
        if not violations(costs, plans):
            values.append(costs.cost(problem.policy.objective, plans, costs.predict(plans, queues), queues))
    return min(values)


@pytest.mark.parametrize("objective", FAIR)
def test_first_come_equals_every_simulated_choice(objective: Objective) -> None:
    rng = random.Random(f"exact {objective}")
    for count in (2, 3, 3, 4):
        problem = _problem(rng, objective, QueueDiscipline.FIFO, count)
        answer = _solve(problem, "fair_ranks")
        assert isinstance(answer, Plan)
        assert not answer.optimal
        assert answer.cost <= _simulated_least(problem) * (1 + 1e-9)


@pytest.mark.parametrize("queue", list(QueueDiscipline))
@pytest.mark.parametrize("objective", FAIR)
def test_never_worse_than_the_greedy(objective: Objective, queue: QueueDiscipline) -> None:
    rng = random.Random(f"greedy {objective} {queue}")
    for count in (2, 4, 6):
        problem = _problem(rng, objective, queue, count)
        ours, best = _solve(problem, "fair_ranks"), _solve(problem, "auto")
        assert isinstance(ours, Plan)
        assert isinstance(best, Plan)
        assert best.cost <= ours.cost * (1 + 1e-9)
        for name in VARIANTS:
            theirs = _solve(problem, name)
            assert isinstance(theirs, Plan), name
            assert ours.cost <= theirs.cost * (1 + 1e-9), name


def test_memory_that_is_shared_and_deadlines_are_kept() -> None:
    rng = random.Random(11)
    bound = 0
    for _ in range(6):
        free = _problem(rng, Objective.DELAY_VARIANCE, QueueDiscipline.FIFO, 3)
        station = replace(free.devices["station"], memory_bytes=60_000.0)
        tight = replace(free, devices={**free.devices, "station": station})
        tight = replace(tight, policy=replace(free.policy, deadline_ms=150.0))
        answer, without = _solve(tight, "fair_ranks"), _solve(free, "fair_ranks")
        assert isinstance(without, Plan)
        if isinstance(answer, Plan):
            assert violations(CostModel(tight), answer.streams) == ()
            assert answer.cost <= _simulated_least(tight) * (1 + 1e-9)
            bound += answer.cost > without.cost
    assert bound


def test_the_same_answer_twice() -> None:
    problem = _problem(random.Random(2), Objective.DELAY_VARIANCE, QueueDiscipline.ROUND_ROBIN, 7)
    first, second = (FairRanks().solve(problem, seed=3, time_budget_s=0.5) for _ in range(2))
    assert first == second


def test_what_is_not_fairness_or_too_large_is_not_supported() -> None:
    other = _problem(random.Random(1), Objective.TOTAL_DELAY, QueueDiscipline.FIFO, 2)
    many = _problem(random.Random(1), Objective.DELAY_VARIANCE, QueueDiscipline.FIFO, 2)
    many = replace(many, streams=(replace(many.streams[0], jobs=101),))
    for problem in (other, many):
        answer = _solve(problem, "fair_ranks")
        assert isinstance(answer, Infeasible)
        assert [reason.constraint for reason in answer.reasons] == [Constraint.SUPPORT]
