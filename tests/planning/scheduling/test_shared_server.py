"""Tasks that share a server: formulas, the greedy algorithm and the exact assignment, against brute force."""

import random
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from planning.problem.plan import Plan, Route
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.queueing.event_loop import Rules
from planning.scheduling.shared_server import Offload, QueueSnapshot, offloads
from planning.search.arrays import Array, Index
from planning.simulation.simulation import simulate
from planning.strategies.kafetzis_koutsopoulos import KafetzisKoutsopoulos, greedy, starts
from planning.strategies.rank_assignment import RankAssignment, assign
from shared.policy import Objective, Policy, QueueDiscipline

DISCIPLINES = [QueueDiscipline.SHORTEST_JOB_FIRST, QueueDiscipline.ROUND_ROBIN]


def _tasks(rng: random.Random, count: int, cuts: int) -> list[Offload]:
    found = []
    for index in range(count):
        local = np.cumsum([0.0] + [rng.uniform(0, 9) for _ in range(cuts - 1)])
        sent = np.array([*(rng.uniform(0, 5) for _ in range(cuts - 1)), 0.0])
        server = np.cumsum([0.0] + [rng.uniform(0, 3) for _ in range(cuts - 1)])[::-1]
        routes = (Route(()),) * cuts
        found.append(Offload(f"s{index}", f"d{index}", routes, local + sent, server.copy(), local, sent))
    return found


def _delays_ms(tasks: Sequence[Offload], choice: Sequence[int], discipline: QueueDiscipline) -> Array:
    return np.asarray(QueueSnapshot(tasks, discipline).delays_ms(np.array([choice]))[0])


def test_formulas() -> None:
    tasks = [
        Offload(f"s{i}", f"d{i}", (Route(()),), np.array([10.0]), np.array([size]), np.array([10.0]), np.zeros(1))
        for i, size in enumerate((3.0, 1.0, 2.0))
    ]
    shortest, shared = (_delays_ms(tasks, [0, 0, 0], discipline) for discipline in DISCIPLINES)
    assert shortest.tolist() == [16, 11, 13]
    assert shared.tolist() == [16, 13, 15]


@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_assignment_equals_brute_force(discipline: QueueDiscipline) -> None:
    rng = random.Random(discipline)
    for _ in range(40):
        tasks = _tasks(rng, rng.randint(1, 4), rng.randint(2, 5))
        options = product(*(range(len(task.routes)) for task in tasks))
        best = min(_delays_ms(tasks, option, discipline).sum() for option in options)
        choice, total = assign(tasks, discipline)
        assert total == pytest.approx(best)
        assert _delays_ms(tasks, choice, discipline).sum() == pytest.approx(best)


@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_greedy_ends_where_no_single_step_helps(discipline: QueueDiscipline) -> None:
    rng = random.Random(f"greedy {discipline}")
    for _ in range(10):
        tasks = _tasks(rng, 6, 5)
        _, exact = assign(tasks, discipline)

        def value(choice: list[int], tasks: list[Offload] = tasks) -> float:
            return float(_delays_ms(tasks, choice, discipline).sum())

        def score(choices: Index, tasks: list[Offload] = tasks) -> Array:
            return np.asarray(QueueSnapshot(tasks, discipline).delays_ms(choices).sum(axis=1))

        ends = [value(greedy(tasks, start, score, 10_000)) for start in starts(tasks)]
        assert exact <= min(ends) + 1e-9
        assert all(value(greedy(tasks, start, score, 10_000)) <= value(start) for start in starts(tasks))


def test_shortest_job_first_delays_less_than_round_robin() -> None:
    rng = random.Random(9)
    for _ in range(50):
        tasks = _tasks(rng, 5, 4)
        choice = [rng.randrange(4) for _ in tasks]
        shortest, shared = (_delays_ms(tasks, choice, discipline).sum() for discipline in DISCIPLINES)
        assert shortest <= shared + 1e-9


def _problem(count: int, objective: Objective, queue: QueueDiscipline) -> Problem:
    rng = random.Random(count)
    blocks = tuple(Block(f"b{index}", size) for index, size in enumerate((90_000, 40_000, 60_000, 20_000, 4_000)))
    devices = {f"phone{index}": Device({"m": tuple(rng.uniform(5, 30) for _ in blocks)}) for index in range(count)}
    devices["station"] = Device({"m": tuple(rng.uniform(2, 6) for _ in blocks)})
    links = tuple(Link(f"phone{index}", "station", rng.uniform(1, 40), 1.0) for index in range(count))
    streams = tuple(Stream(f"task{index}", "m", f"phone{index}") for index in range(count))
    return Problem({"m": Model(150_000, blocks)}, devices, links, streams, Policy(objective=objective, queue=queue))


@pytest.mark.parametrize("queue", list(QueueDiscipline))
@pytest.mark.parametrize("objective", [Objective.TOTAL_DELAY, Objective.DELAY_VARIANCE])
def test_answers_are_what_the_simulation_gives(objective: Objective, queue: QueueDiscipline) -> None:
    problem = _problem(5, objective, queue)
    for strategy in (KafetzisKoutsopoulos(), KafetzisKoutsopoulos(event_driven=True), RankAssignment()):
        answer = strategy.solve(problem, seed=0, time_budget_s=1.0)
        assert isinstance(answer, Plan)
        timeline = simulate(problem, answer.streams, rules=Rules(answer.disciplines))
        expected = timeline.total_delay_ms if objective is Objective.TOTAL_DELAY else timeline.delay_variance_ms2
        assert answer.cost == pytest.approx(expected)


def test_fifty_tasks() -> None:
    problem = _problem(50, Objective.TOTAL_DELAY, QueueDiscipline.SHORTEST_JOB_FIRST)
    tasks = offloads(problem, "station")
    assert tasks is not None
    choice, total = assign(tasks, QueueDiscipline.SHORTEST_JOB_FIRST)
    local = sum(task.before_ms[-1] for task in tasks)
    assert total <= local
    assert len(set(choice)) > 1
