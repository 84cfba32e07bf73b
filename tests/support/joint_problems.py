"""Random planning problems of several streams, with bursts, encodings and constraints of all streams together."""

import random
from dataclasses import replace

from planning.problem.problem import Problem
from shared.policy import Objective, QueueDiscipline
from tests.support.random_problems import random_problem


def random_joint_problem(rng: random.Random, objective: Objective, *, constrained: bool = False) -> Problem:
    """A problem of up to three streams of one model, each with up to four jobs, under any queue discipline."""
    problem = random_problem(rng, objective, constrained=constrained, codecs=True, most_devices=4)
    names = list(problem.devices)
    streams = tuple(
        replace(
            problem.streams[0],
            name=f"s{index}",
            source=rng.choice(names),
            sink=rng.choice([None, rng.choice(names)]),
            jobs=rng.randint(1, 4),
        )
        for index in range(rng.randint(1, 3))
    )
    policy = replace(problem.policy, queue=rng.choice(list(QueueDiscipline)))
    return replace(problem, streams=streams, policy=policy)
