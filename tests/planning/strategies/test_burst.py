"""The burst against JPS and the baselines, and against brute force, where nothing is monotone."""

import random
from itertools import combinations_with_replacement

import pytest

from planning.cost.cost_model import CostModel
from planning.problem.plan import Plan
from planning.problem.problem import Block, CodecProfile, Device, Link, Model, Problem, Stream
from planning.scheduling.burst_planning import burst_curves, ordered_burst
from planning.search.two_device_splits import split_table
from planning.strategies.burst import Burst
from planning.strategies.dads import Dads
from planning.strategies.jps import Jps
from planning.strategies.local_only import LocalOnly
from planning.strategies.neurosurgeon import Neurosurgeon
from planning.strategies.remote_only import RemoteOnly
from shared.policy import Objective, Policy

CASES = 300


def _problem(rng: random.Random, most_blocks: int, most_jobs: int) -> Problem:
    """Two devices; the input is often smaller than every feature map, as photographs are; half have encodings."""
    coded = rng.random() < 0.5
    blocks = []
    for index in range(rng.randint(2, most_blocks)):
        size = rng.randint(1, 400_000)
        codecs = {
            name: CodecProfile(size * share * rng.uniform(0.5, 1.2), rng.uniform(0, 4), rng.uniform(0, 2))
            for name, share in (("uint8", 0.25), ("float16", 0.5))
            if coded and rng.random() < 0.7
        }
        blocks.append(Block(f"b{index}", size, codecs=codecs))
    phone = Device({"m": tuple(rng.uniform(0, 20) for _ in blocks)}, segment_overhead_ms=rng.choice([0.0, 2.0]))
    fast = rng.choice([0.0, 0.1, 1.0])
    cloud = Device({"m": tuple(fast * time_ms for time_ms in phone.block_ms["m"])}, segment_overhead_ms=fast)
    link = Link("phone", "cloud", rng.uniform(1, 60), rng.choice([0.0, 3.0]))
    stream = Stream("s", "m", "phone", rng.choice([None, "phone"]), jobs=rng.randint(1, most_jobs))
    model = Model(rng.choice([20_000, 600_000]), tuple(blocks))
    return Problem({"m": model}, {"phone": phone, "cloud": cloud}, (link,), (stream,), Policy(Objective.MAKESPAN))


def test_never_slower_than_jps_or_a_baseline() -> None:
    rng = random.Random("burst")
    better = 0
    for _ in range(CASES):
        problem = _problem(rng, 9, 30)
        burst = Burst().solve(problem, seed=0, time_budget_s=0.2)
        assert isinstance(burst, Plan)
        for rival in (Jps(), Jps(floor_ratio=True, guard=False), Dads(), LocalOnly(), RemoteOnly(), Neurosurgeon()):
            other = rival.solve(problem, seed=0, time_budget_s=0.2)
            assert isinstance(other, Plan)
            assert burst.cost <= other.cost * (1 + 1e-9), (rival.name, problem)
            better += rival.name == "jps" and burst.cost < other.cost * (1 - 1e-6)
    assert better > CASES // 4


def test_close_to_brute_force_over_all_mixes() -> None:
    rng = random.Random("mixes")
    gaps = []
    for _ in range(60):
        problem = _problem(rng, 4, 4)
        stream, costs = problem.streams[0], CostModel(problem)
        (curve,) = burst_curves(split_table(problem, stream)).values()
        mixes = combinations_with_replacement(range(len(curve.jobs)), stream.jobs)
        best_ms = min(costs.makespan_ms({"s": ordered_burst(curve, mix)}) for mix in mixes)
        burst = Burst().solve(problem, seed=0, time_budget_s=1.0)
        assert isinstance(burst, Plan)
        assert burst.cost >= best_ms * (1 - 1e-9)
        gaps.append(burst.cost / best_ms - 1)
    assert max(gaps) == pytest.approx(0.0, abs=0.03)
    assert sum(gaps) / len(gaps) < 0.001
