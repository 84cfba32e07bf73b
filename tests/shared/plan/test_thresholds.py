import random
from itertools import pairwise

import pytest

from shared.plan.cost import CostModel
from shared.plan.plan import Route, sequential_route
from shared.plan.problem import Block, Device, Link, Model, Problem, Stream
from shared.plan.thresholds import bandwidth_ranges, load_ranges


def _routes(problem: Problem) -> list[Route]:
    count = len(problem.models["m"].blocks)
    splits = [sequential_route([(0, cut, "a", "raw"), (cut, count, "b", "raw")]) for cut in range(1, count)]
    return [sequential_route([(0, count, "b", "raw")]), *splits, sequential_route([(0, count, "a", "raw")])]


def _best(problem: Problem, stream: Stream) -> Route:
    return min(_routes(problem), key=lambda route: CostModel(problem).latency_ms(stream, route))


def _problem(rng: random.Random, bandwidth_mbps: float = 10.0, load: float = 1.0) -> Problem:
    blocks = tuple(Block(f"b{index}", rng.randint(1, 100_000)) for index in range(5))
    devices = {
        "a": Device({"m": tuple(rng.uniform(1, 20) for _ in blocks)}),
        "b": Device({"m": tuple(rng.uniform(0, 5) for _ in blocks)}, load_factor=load),
    }
    link = Link("a", "b", bandwidth_mbps, 1.0)
    return Problem({"m": Model(150_000, blocks)}, devices, (link,), (Stream("s", "m", "a"),))


def test_by_hand() -> None:
    """Remote takes 1 + 8 / B, local 5: remote wins from 2 Mbps up."""
    devices = {"a": Device({"m": (5.0,)}), "b": Device({"m": (1.0,)})}
    problem = Problem({"m": Model(1000, (Block("x", 0),))}, devices, (Link("a", "b", 8.0),), (Stream("s", "m", "a"),))
    slow, fast = bandwidth_ranges(problem, problem.streams[0], ("a", "b"), _best, low_mbps=0.1, high_mbps=100.0)
    assert (slow.high, fast.low) == pytest.approx((2.0, 2.0))
    assert (slow.route.stages[0].device, fast.route.stages[0].device) == ("a", "b")
    idle, loaded = load_ranges(problem, problem.streams[0], "b", _best, low=0.1, high=100.0)
    assert (idle.high, loaded.low) == pytest.approx((4.0, 4.0))
    assert loaded.route.stages[0].device == "a"


@pytest.mark.parametrize("seed", range(15))
def test_inside_every_range_its_route_is_the_best(seed: int) -> None:
    rng = random.Random(seed)
    problem = _problem(rng)
    stream = problem.streams[0]
    ranges = bandwidth_ranges(problem, stream, ("a", "b"), _best, low_mbps=0.05, high_mbps=5000.0)
    assert (ranges[0].low, ranges[-1].high) == pytest.approx((0.05, 5000.0))
    assert all(before.high == after.low for before, after in pairwise(ranges))
    for piece in ranges:
        for share in (0.02, 0.5, 0.98):
            mbps = piece.low + share * (piece.high - piece.low)
            changed = _problem(random.Random(seed), mbps)
            costs = CostModel(changed)
            assert costs.latency_ms(stream, piece.route) == pytest.approx(
                costs.latency_ms(stream, _best(changed, stream))
            )
    for piece in load_ranges(problem, stream, "b", _best, low=0.01, high=100.0):
        load = (piece.low + piece.high) / 2
        changed = _problem(random.Random(seed), load=load)
        costs = CostModel(changed)
        assert costs.latency_ms(stream, piece.route) == pytest.approx(costs.latency_ms(stream, _best(changed, stream)))


def test_a_route_that_never_changes_has_one_range() -> None:
    devices = {"a": Device({"m": (0.0,)}), "b": Device({"m": (1.0,)})}
    problem = Problem({"m": Model(1000, (Block("x", 0),))}, devices, (Link("a", "b", 8.0),), (Stream("s", "m", "a"),))
    assert len(bandwidth_ranges(problem, problem.streams[0], ("a", "b"), _best, low_mbps=1.0, high_mbps=9.0)) == 1
