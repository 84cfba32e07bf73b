"""Delays of parts that are at the server from their arrival on equal those of the simulation."""

import random
from itertools import product

import numpy as np
import pytest

from planning.cost.cost_model import CostModel
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.scheduling.arrival_delays import ArrivalDelays
from planning.scheduling.shared_server import offloads, task_plans
from planning.search.result import policy_queues
from shared.policy import Objective, Policy, QueueDiscipline


def _problem(rng: random.Random, queue: QueueDiscipline, jobs: int) -> Problem:
    blocks = tuple(Block(f"b{index}", rng.randint(1_000, 90_000)) for index in range(3))
    names = [f"phone{index}" for index in range(3)]
    devices = {name: Device({"m": tuple(rng.uniform(2, 20) for _ in blocks)}) for name in names}
    devices["station"] = Device({"m": tuple(rng.uniform(2, 12) for _ in blocks)})
    links = tuple(Link(name, "station", rng.uniform(5, 40), 1.0) for name in names)
    streams = tuple(Stream(f"task{index}", "m", name, jobs=jobs) for index, name in enumerate(names))
    policy = Policy(objective=Objective.DELAY_VARIANCE, queue=queue)
    return Problem({"m": Model(50_000, blocks)}, devices, links, streams, policy)


@pytest.mark.parametrize(
    ("queue", "jobs"),
    [
        (QueueDiscipline.FIFO, 1),
        (QueueDiscipline.FIFO, 2),
        (QueueDiscipline.SHORTEST_JOB_FIRST, 1),
        (QueueDiscipline.ROUND_ROBIN, 1),
    ],
)
def test_delays_are_the_simulation_s(queue: QueueDiscipline, jobs: int) -> None:
    rng = random.Random(f"{queue} {jobs}")
    for _ in range(5):
        problem = _problem(rng, queue, jobs)
        tasks, costs = offloads(problem, "station"), CostModel(problem)
        assert tasks is not None
        every = list(product(*(range(len(task.routes)) for task in tasks)))
        choices = np.array(rng.sample(every, 30))
        delays = ArrivalDelays(tasks, queue).delays_ms(choices)
        for choice, ours in zip(choices.tolist(), delays, strict=True):
            plans = task_plans(problem, tasks, choice)
            theirs = costs.delays_ms(plans, policy_queues(problem, plans))
            assert sorted(ours) == pytest.approx(sorted(theirs))
