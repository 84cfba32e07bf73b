import random

import pytest

from benchmarks.min_cut import cheapest_division
from planning.problem.plan import Plan
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.scheduling.identical_jobs import crossing, virtual_blocks
from planning.scheduling.path_expansion import MAX_PATHS, mix_local_sets, path_cuts
from planning.strategies.jps import Jps
from shared.policy import Objective, Policy


def inception(modules: int, seed: int = 0, jobs: int = 1, mbps: float = 8.0) -> Problem:
    """Like GoogLeNet: modules of four branches (1, 2, 2 and 2 blocks) between a fork and a join; tensors shrink."""
    rng = random.Random(seed)
    blocks, edges, near = [Block("stem", 60_000)], list[tuple[int, int, float]](), [3.0]

    def add(name: str, size: int, time_ms: float, *makers: int) -> int:
        blocks.append(Block(name, size))
        near.append(time_ms)
        edges.extend((maker, len(blocks) - 1, float(blocks[maker].output_bytes)) for maker in makers)
        return len(blocks) - 1

    fork = 0
    for module in range(modules):
        size = 40_000 // (module + 1)
        ends = [add(f"{module}a", size // 4, rng.uniform(0.5, 1.5), fork)]
        for branch in "bcd":
            inner = add(f"{module}{branch}1", size // rng.choice([3, 8]), rng.uniform(0.5, 1.5), fork)
            ends.append(add(f"{module}{branch}2", size // 4, rng.uniform(0.5, 2.5), inner))
        fork = add(f"{module}join", size, 0.1, *ends)
    add("classifier", 0, 1.0, fork)
    devices = {"phone": Device({"m": tuple(near)}), "cloud": Device({"m": (0.0,) * len(near)})}
    stream = Stream("s", "m", "phone", jobs=jobs)
    model = Model(150_000, tuple(blocks), tuple(edges))
    return Problem(
        {"m": model}, devices, (Link("phone", "cloud", mbps),), (stream,), Policy(objective=Objective.MAKESPAN)
    )


def _costs(problem: Problem, inside: frozenset[int]) -> tuple[float, float]:
    """Return computing, and sending of every crossing tensor once, independently of the module under test."""
    model, link = problem.models["m"], problem.links[0]
    edges = [(-1, 0, model.input_bytes), *(model.edges or ())]
    sent = {a: size for a, b, size in edges if (a == -1 or a in inside) and b not in inside}
    times = problem.devices["phone"].block_ms["m"]
    return sum(times[b] for b in inside), sum(sent.values()) * 8 / (1000 * link.bandwidth_mbps)


@pytest.mark.parametrize("mbps", [0.5, 2.0, 8.0, 20.0, 40.0, 90.0, 300.0])
def test_sets_are_closed_and_every_crossing_tensor_is_sent_once(mbps: float) -> None:
    for seed in range(20):
        problem = inception(4, seed, mbps=mbps)
        for entry in path_cuts(problem, problem.streams[0], "cloud"):
            assert all(a in entry.blocks for a, b, _ in problem.models["m"].edges or () if b in entry.blocks)
            assert (entry.computing_ms, entry.sending_ms) == pytest.approx(_costs(problem, entry.blocks))


def test_googlenet_is_not_expanded_whole() -> None:
    """Nine modules of four paths: 4^9 = 262 144 paths, far beyond the limit of a region; the answer is complete."""
    problem = inception(9)
    assert MAX_PATHS < 4**9
    sets = path_cuts(problem, problem.streams[0], "cloud")
    assert len(sets) >= 2
    balanced = [entry.computing_ms - entry.sending_ms for entry in sets]
    assert min(balanced) < 0 <= max(balanced)


def test_a_cut_may_lie_inside_a_module() -> None:
    found = [
        entry
        for seed in range(10)
        for mbps in (4.0, 8.0, 16.0, 32.0, 64.0)
        for problem in [inception(3, seed, mbps=mbps)]
        for entry in path_cuts(problem, problem.streams[0], "cloud")
        if entry.prefix != len(entry.blocks)
    ]
    assert found


def test_chains_are_cut_by_algorithm_2() -> None:
    sizes, times = (27_200, 9_500, 6_400, 0), (6.7, 3.1, 6.7, 50.0)
    blocks = tuple(Block(str(index), size) for index, size in enumerate(sizes))
    devices = {"phone": Device({"m": times}), "cloud": Device({"m": (0.0,) * 4})}
    stream = Stream("s", "m", "phone", jobs=3)
    problem = Problem({"m": Model(1_000_000, blocks)}, devices, (Link("phone", "cloud", 8.0),), (stream,))
    sets = path_cuts(problem, stream, "cloud")
    curve = [(0.0, 1000.0), (6.7, 27.2), (9.8, 9.5), (16.5, 6.4), (66.5, 0.0)]
    star = virtual_blocks(curve)[crossing(curve)]
    assert {entry.prefix for entry in sets} == {star - 1, star}
    assert {sets[index].prefix for index in mix_local_sets(sets, 3)} == {2}


@pytest.mark.parametrize("jobs", [1, 4, 25])
def test_jps_takes_the_mix_into_account_and_stays_within_the_bound(jobs: int) -> None:
    for seed in range(10):
        problem = inception(3, seed, jobs)
        answer = Jps().solve(problem, seed=0, time_budget_s=1.0)
        assert isinstance(answer, Plan)
        division = cheapest_division(problem, problem.streams[0], "cloud")
        assert answer.predicted.latency_ms >= division.latency_ms - 1e-9
        printed = Jps(guard=False).solve(problem, seed=0, time_budget_s=1.0)
        assert isinstance(printed, Plan)
        assert answer.cost <= printed.cost + 1e-9


def test_path_wise_sets_never_beat_the_minimum_cut() -> None:
    for seed in range(30):
        problem = inception(2, seed, mbps=random.Random(seed).uniform(2, 60))
        division = cheapest_division(problem, problem.streams[0], "cloud")
        for entry in path_cuts(problem, problem.streams[0], "cloud"):
            assert entry.computing_ms + entry.sending_ms >= division.latency_ms - 1e-9


def test_mix_balances_computing_and_sending() -> None:
    problem = inception(4, mbps=16.0)
    sets = path_cuts(problem, problem.streams[0], "cloud")
    jobs = 100
    chosen = [sets[index] for index in mix_local_sets(sets, jobs)]
    computing, sending = sum(s.computing_ms for s in chosen), sum(s.sending_ms for s in chosen)
    single = max(abs(s.computing_ms - s.sending_ms) for s in chosen)
    assert abs(computing - sending) <= single
    uniform = min(jobs * max(entry.computing_ms, entry.sending_ms) for entry in sets)
    assert max(computing, sending) <= uniform + single
