"""The exact assignment of tasks to ranks against brute force, and against the simulation."""

import random
from itertools import product

import pytest

from planning.problem.plan import Plan
from planning.queueing.event_loop import Rules
from planning.scheduling.shared_server import offloads
from planning.simulation.simulation import simulate
from planning.strategies.rank_assignment import RankAssignment, assign
from shared.policy import Objective, QueueDiscipline
from tests.support.shared_server_problems import DISCIPLINES, delays_ms, random_tasks, station_problem


@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_assignment_equals_brute_force(discipline: QueueDiscipline) -> None:
    rng = random.Random(discipline)
    for _ in range(40):
        tasks = random_tasks(rng, rng.randint(1, 4), rng.randint(2, 5))
        options = product(*(range(len(task.routes)) for task in tasks))
        best = min(delays_ms(tasks, option, discipline).sum() for option in options)
        choice, total = assign(tasks, discipline)
        assert total == pytest.approx(best)
        assert delays_ms(tasks, choice, discipline).sum() == pytest.approx(best)


@pytest.mark.parametrize("queue", list(QueueDiscipline))
def test_the_answer_costs_what_the_simulation_gives(queue: QueueDiscipline) -> None:
    problem = station_problem(5, Objective.TOTAL_DELAY, queue)
    answer = RankAssignment().solve(problem, seed=0, time_budget_s=1.0)
    assert isinstance(answer, Plan)
    timeline = simulate(problem, answer.streams, rules=Rules(answer.disciplines))
    assert answer.cost == pytest.approx(timeline.total_delay_ms)


def test_fifty_tasks() -> None:
    tasks = offloads(station_problem(50, Objective.TOTAL_DELAY, QueueDiscipline.SHORTEST_JOB_FIRST), "station")
    assert tasks is not None
    choice, total = assign(tasks, QueueDiscipline.SHORTEST_JOB_FIRST)
    local = sum(task.before_ms[-1] for task in tasks)
    assert total <= local
    assert len(set(choice)) > 1
