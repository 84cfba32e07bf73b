import random
from collections.abc import Callable
from itertools import chain, combinations
from pathlib import Path

import pytest

from benchmarks.min_cut import cheapest_division
from planning.files.problem_file import read_problem
from planning.problem.plan import Plan
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.strategies.dads import Dads
from planning.strategies.neurosurgeon import Neurosurgeon
from planning.strategies.registry import solve, with_strategy
from shared.policy import Objective
from tests.support.shared_paths import INSTANCES as INSTANCES_FOLDER

INSTANCES = sorted(INSTANCES_FOLDER.glob("alexnet_pi_cloud_*.json"))


def _chain(rate_hz: float | None) -> Problem:
    blocks = (Block("x", 4000), Block("y", 9000), Block("z", 0))
    devices = {"a": Device({"m": (4.0, 4.0, 4.0)}), "b": Device({"m": (1.0, 1.0, 1.0)})}
    stream = Stream("s", "m", "a", rate_hz=rate_hz)
    return Problem({"m": Model(8000, blocks)}, devices, (Link("a", "b", 8.0),), (stream,))


def _cut(problem: Problem) -> int:
    answer = Dads().solve(problem, seed=0, time_budget_s=1.0)
    assert isinstance(answer, Plan)
    stage = answer.streams["s"].routes[0].stages[0]
    return stage.stop if stage.device == "a" else 0


def test_light_load_minimises_the_sum() -> None:
    """Sums are 11, 10, 18, 12: cut after the first block."""
    assert _cut(_chain(None)) == 1
    assert _cut(_chain(100.0)) == 1


def test_heavy_load_minimises_the_maximum() -> None:
    """Sums are 15, 15, 17.2, 7.3, maxima 8, 7, 9, 7.3: above 1000 / 7.3 per second the cut moves."""
    slow = Problem(
        _chain(None).models,
        {"a": Device({"m": (7.0, 0.2, 0.1)}), "b": Device({"m": (3.0, 3.0, 1.0)})},
        (Link("a", "b", 8.0),),
        (Stream("s", "m", "a", rate_hz=140.0),),
    )
    assert _cut(Problem(slow.models, slow.devices, slow.links, (Stream("s", "m", "a", rate_hz=10.0),))) == 3
    assert _cut(slow) == 1


@pytest.mark.parametrize("path", INSTANCES, ids=lambda path: path.stem)
def test_light_load_equals_neurosurgeon(path: Path) -> None:
    problem = read_problem(path.read_bytes())
    ours = Dads().solve(problem, seed=0, time_budget_s=1.0)
    theirs = Neurosurgeon(server_load_aware=True).solve(problem, seed=0, time_budget_s=1.0)
    assert isinstance(ours, Plan)
    assert isinstance(theirs, Plan)
    assert ours.cost == pytest.approx(theirs.cost)


def _random_dag(rng: random.Random) -> Problem:
    count = rng.randint(2, 6)
    blocks = tuple(Block(str(index), rng.randint(0, 9000)) for index in range(count))
    edges = [
        (a, b, float(blocks[a].output_bytes))
        for a, b in combinations(range(count), 2)
        if rng.random() < 0.5 or b == a + 1
    ]
    devices = {
        name: Device(
            {"m": tuple(rng.uniform(0, 9) for _ in blocks)},
            load_factor=rng.uniform(0.5, 3),
            segment_overhead_ms=rng.choice([0.0, 2.0]),
        )
        for name in "ab"
    }
    links = (Link("a", "b", rng.uniform(2, 20), rng.choice([0.0, 3.0])),)
    model = Model(rng.randint(0, 9000), blocks, tuple(edges) if rng.random() < 0.8 else None)
    return Problem({"m": model}, devices, links, (Stream("s", "m", "a"),))


def _brute_force_ms(problem: Problem) -> float:
    """The least latency over every set that is closed under dependencies."""
    model, link = problem.models["m"], problem.links[0]
    near, far = problem.devices["a"], problem.devices["b"]
    whole = range(len(model.blocks))
    edges = [(a, b) for a, b, _ in model.edges] if model.edges is not None else [(i, i + 1) for i in list(whole)[:-1]]
    readers_of_input = [block for block in whole if all(target != block for _, target in edges)]
    best = float("inf")
    for inside in map(set, chain.from_iterable(combinations(whole, size) for size in range(len(whole) + 1))):
        if any(b in inside and a not in inside for a, b in edges):
            continue
        total = near.load_factor * (
            sum(near.block_ms["m"][i] for i in inside) + (near.segment_overhead_ms if inside else 0)
        )
        outside = set(whole) - inside
        if outside:
            total += far.load_factor * (sum(far.block_ms["m"][i] for i in outside) + far.segment_overhead_ms)
            size = sum(model.blocks[a].output_bytes for a in inside if any(x == a and b in outside for x, b in edges))
            size += model.input_bytes if any(block in outside for block in readers_of_input) else 0
            total += link.latency_ms + 8 * size / (1000 * link.bandwidth_mbps)
        best = min(best, total)
    return best


def test_minimum_cut_equals_brute_force() -> None:
    rng = random.Random(11)
    for _ in range(150):
        problem = _random_dag(rng)
        found = cheapest_division(problem, problem.streams[0], "b")
        assert found.latency_ms == pytest.approx(_brute_force_ms(problem))


def test_dads_has_the_minimum_cut_wherever_blocks_in_order_can_express_it() -> None:
    rng, expressible = random.Random(12), 0
    for _ in range(150):
        problem = _random_dag(rng)
        found = cheapest_division(problem, problem.streams[0], "b")
        answer = Dads().solve(problem, seed=0, time_budget_s=1.0)
        assert isinstance(answer, Plan)
        assert answer.predicted.latency_ms >= found.latency_ms - 1e-9
        if found.blocks == frozenset(range(len(found.blocks))):
            expressible += 1
            assert answer.predicted.latency_ms == pytest.approx(found.latency_ms)
    assert expressible > 100


def test_both_loads_of_dads_can_be_asked_for(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random(8)
    differ = 0
    for _ in range(40):
        problem = make_problem(rng, Objective.LATENCY)
        light, heavy = (solve(with_strategy(problem, f"dads:{load}_load")) for load in ("light", "heavy"))
        if isinstance(light, Plan) and isinstance(heavy, Plan):
            assert light.cost <= heavy.cost * (1 + 1e-9)
            differ += light.streams != heavy.streams
    assert differ
