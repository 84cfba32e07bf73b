"""Random tasks that share a server, and problems with a station that many phones share."""

import random
from collections.abc import Sequence

import numpy as np

from planning.problem.plan import Route
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.scheduling.shared_server import Offload, QueueSnapshot
from planning.search.arrays import Array
from shared.policy import Objective, Policy, QueueDiscipline

# The disciplines that the paper's snapshot tells apart.
DISCIPLINES = [QueueDiscipline.SHORTEST_JOB_FIRST, QueueDiscipline.ROUND_ROBIN]


def random_tasks(rng: random.Random, count: int, cuts: int) -> list[Offload]:
    """Return tasks of one server with so many cuts each."""
    found = []
    for index in range(count):
        local = np.cumsum([0.0] + [rng.uniform(0, 9) for _ in range(cuts - 1)])
        sent = np.array([*(rng.uniform(0, 5) for _ in range(cuts - 1)), 0.0])
        server = np.cumsum([0.0] + [rng.uniform(0, 3) for _ in range(cuts - 1)])[::-1]
        routes = (Route(()),) * cuts
        found.append(Offload(f"s{index}", f"d{index}", routes, local + sent, server.copy(), local, sent))
    return found


def delays_ms(tasks: Sequence[Offload], choice: Sequence[int], discipline: QueueDiscipline) -> Array:
    """Return the snapshot's delay of every task, [N], in ms."""
    return np.asarray(QueueSnapshot(tasks, discipline).delays_ms(np.array([choice]))[0])


def station_problem(count: int, objective: Objective, queue: QueueDiscipline) -> Problem:
    """Return a problem of so many phones with one task each around a faster station."""
    rng = random.Random(count)
    blocks = tuple(Block(f"b{index}", size) for index, size in enumerate((90_000, 40_000, 60_000, 20_000, 4_000)))
    devices = {f"phone{index}": Device({"m": tuple(rng.uniform(5, 30) for _ in blocks)}) for index in range(count)}
    devices["station"] = Device({"m": tuple(rng.uniform(2, 6) for _ in blocks)})
    links = tuple(Link(f"phone{index}", "station", rng.uniform(1, 40), 1.0) for index in range(count))
    streams = tuple(Stream(f"task{index}", "m", f"phone{index}") for index in range(count))
    return Problem({"m": Model(150_000, blocks)}, devices, links, streams, Policy(objective=objective, queue=queue))
