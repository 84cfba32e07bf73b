"""Duan & Wu's baseline BF: never beaten by mixes of two cuts, and bounded."""

import random
from dataclasses import replace

from planning.files.problem_file import read_problem
from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.strategies.brute_force import BruteForce
from planning.strategies.registry import solve, with_strategy
from shared.policy import Objective, Policy
from tests.support.shared_paths import INSTANCES


def _burst(rng: random.Random) -> Problem:
    """Return a burst whose server takes no time, which the paper neglects."""
    blocks = rng.randint(2, 5)
    sizes = [Block(f"b{index}", rng.uniform(1e3, 1e6)) for index in range(blocks)]
    devices = {
        "camera": Device({"m": tuple(rng.uniform(1, 20) for _ in range(blocks))}),
        "server": Device({"m": (0.0,) * blocks}),
    }
    return Problem(
        models={"m": Model(rng.uniform(1e4, 1e6), tuple(sizes))},
        devices=devices,
        links=(Link("camera", "server", rng.uniform(5, 100)),),
        streams=(Stream("s", "m", "camera", jobs=rng.randint(2, 5)),),
        policy=Policy(Objective.MAKESPAN),
    )


def _cost(problem: Problem, name: str) -> float:
    answer = solve(with_strategy(problem, name))
    assert isinstance(answer, Plan), answer
    return answer.cost


def test_brute_force_is_never_beaten_by_two_cuts() -> None:
    rng = random.Random(3)
    for _ in range(100):
        problem = _burst(rng)
        exact = _cost(problem, "jps:brute_force")
        for name in ("jps", "jps:as_printed", "jps:unguarded", "local_only", "remote_only"):
            assert exact <= _cost(problem, name) * (1 + 1e-9)


def test_a_larger_burst_than_the_budget_allows_is_unsupported() -> None:
    problem = read_problem((INSTANCES / "alexnet_burst_4g.json").read_bytes())
    large = replace(problem, streams=(replace(problem.streams[0], jobs=10_000),))
    answer = BruteForce().solve(large, seed=0, time_budget_s=1.0)
    assert isinstance(answer, Infeasible)
    assert "choices of cuts" in answer.reason
