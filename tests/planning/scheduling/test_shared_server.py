"""Tasks that share a server: delays in the snapshot, and the tasks of a problem."""

import random

import numpy as np

from planning.problem.plan import Route
from planning.scheduling.shared_server import Offload, offloads
from shared.policy import Objective, QueueDiscipline
from tests.support.shared_server_problems import DISCIPLINES, delays_ms, random_tasks, station_problem


def test_formulas() -> None:
    tasks = [
        Offload(f"s{i}", f"d{i}", (Route(()),), np.array([10.0]), np.array([size]), np.array([10.0]), np.zeros(1))
        for i, size in enumerate((3.0, 1.0, 2.0))
    ]
    shortest, shared = (delays_ms(tasks, [0, 0, 0], discipline) for discipline in DISCIPLINES)
    assert shortest.tolist() == [16, 11, 13]
    assert shared.tolist() == [16, 13, 15]


def test_shortest_job_first_delays_less_than_round_robin() -> None:
    rng = random.Random(9)
    for _ in range(50):
        tasks = random_tasks(rng, 5, 4)
        choice = [rng.randrange(4) for _ in tasks]
        shortest, shared = (delays_ms(tasks, choice, discipline).sum() for discipline in DISCIPLINES)
        assert shortest <= shared + 1e-9


def test_every_stream_has_a_task_whose_last_route_is_local() -> None:
    problem = station_problem(3, Objective.TOTAL_DELAY, QueueDiscipline.FIFO)
    tasks = offloads(problem, "station")
    assert tasks is not None
    assert [task.stream for task in tasks] == [stream.name for stream in problem.streams]
    for task in tasks:
        assert {stage.device for stage in task.routes[len(task.routes) - 1].stages} == {task.source}
        assert task.server_ms[-1] == 0
