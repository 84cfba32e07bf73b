import random
from itertools import accumulate, groupby, pairwise, product
from math import inf

import pytest

from planning.cost.cost_model import CostModel
from planning.cost.thresholds import Line, Range, bandwidth_parameter, load_parameter, ranges
from planning.problem.plan import Route, sequential_route
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from shared.policy import Objective


def _routes(problem: Problem) -> list[Route]:
    count = len(problem.models["m"].blocks)
    splits = [sequential_route([(0, cut, "a", "raw"), (cut, count, "b", "raw")]) for cut in range(1, count)]
    return [sequential_route([(0, count, "b", "raw")]), *splits, sequential_route([(0, count, "a", "raw")])]


def over_bandwidth(problem: Problem, low: float, high: float) -> tuple[Range, ...]:
    parameter = bandwidth_parameter(problem, ("a", "b"))
    return ranges(parameter, problem.streams[0], Objective.LATENCY, _best, low=low, high=high)


def over_load(problem: Problem, low: float, high: float) -> tuple[Range, ...]:
    return ranges(load_parameter(problem, "b"), problem.streams[0], Objective.LATENCY, _best, low=low, high=high)


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
    slow, fast = over_bandwidth(problem, 0.1, 100.0)
    assert (slow.high, fast.low) == pytest.approx((2.0, 2.0))
    assert (slow.route.stages[0].device, fast.route.stages[0].device) == ("a", "b")
    idle, loaded = over_load(problem, 0.1, 100.0)
    assert (idle.high, loaded.low) == pytest.approx((4.0, 4.0))
    assert loaded.route.stages[0].device == "a"


@pytest.mark.parametrize("seed", range(15))
def test_inside_every_range_its_route_is_the_best(seed: int) -> None:
    rng = random.Random(seed)
    problem = _problem(rng)
    stream = problem.streams[0]
    pieces = over_bandwidth(problem, 0.05, 5000.0)
    assert (pieces[0].low, pieces[-1].high) == pytest.approx((0.05, 5000.0))
    assert all(before.high == after.low for before, after in pairwise(pieces))
    for piece in pieces:
        for share in (0.02, 0.5, 0.98):
            mbps = piece.low + share * (piece.high - piece.low)
            changed = _problem(random.Random(seed), mbps)
            costs = CostModel(changed)
            assert costs.latency_ms(stream, piece.route) == pytest.approx(
                costs.latency_ms(stream, _best(changed, stream))
            )
    for piece in over_load(problem, 0.01, 100.0):
        load = (piece.low + piece.high) / 2
        changed = _problem(random.Random(seed), load=load)
        costs = CostModel(changed)
        assert costs.latency_ms(stream, piece.route) == pytest.approx(costs.latency_ms(stream, _best(changed, stream)))


def test_a_route_that_never_changes_has_one_range() -> None:
    devices = {"a": Device({"m": (0.0,)}), "b": Device({"m": (1.0,)})}
    problem = Problem({"m": Model(1000, (Block("x", 0),))}, devices, (Link("a", "b", 8.0),), (Stream("s", "m", "a"),))
    assert len(over_bandwidth(problem, 1.0, 9.0)) == 1


def _three(rng: random.Random) -> Problem:
    """Return a chain over three devices, of which two are linked to the source and to each other."""
    count = 5
    blocks = tuple(Block(f"b{index}", rng.randint(1_000, 100_000)) for index in range(count))

    def device(slowest_ms: float) -> Device:
        times = {"m": tuple(rng.uniform(0.5, slowest_ms) for _ in blocks)}
        watts = sorted(rng.uniform(1.0, 9.0) for _ in range(2))
        return Device(
            times,
            rng.uniform(1.0, 2.0),
            power_idle_w=watts[0],
            power_active_w=watts[1],
            power_tx_w=rng.uniform(0.1, 2.0),
            power_rx_w=rng.uniform(0.1, 2.0),
        )

    devices = {"a": device(20.0), "b": device(8.0), "c": device(5.0)}
    links = tuple(Link(*ends, rng.uniform(5.0, 50.0), 1.0) for ends in (("a", "b"), ("b", "c"), ("a", "c")))
    return Problem({"m": Model(rng.randint(10_000, 200_000), blocks)}, devices, links, (Stream("s", "m", "a"),))


def _every_route(problem: Problem) -> list[Route]:
    """Return every placement of every block, revisits included."""
    names, count = tuple(problem.devices), len(problem.models["m"].blocks)
    found = []
    for places in product(names, repeat=count):
        runs = [(name, len(list(group))) for name, group in groupby(places)]
        stops = list(accumulate(length for _, length in runs))
        stages = [(stop - length, stop, name, "raw") for (name, length), stop in zip(runs, stops, strict=True)]
        found.append(sequential_route(stages))
    return found


def _least_energy(problem: Problem, stream: Stream) -> Route:
    return min(_every_route(problem), key=lambda route: CostModel(problem).energy_j(stream, route))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("device", [None, "a", "b"])
def test_in_every_range_its_route_takes_the_least_energy(seed: int, device: str | None) -> None:
    """Of all 243 placements of five blocks on three devices."""
    problem = _three(random.Random(seed))
    parameter = bandwidth_parameter(problem, ("a", "b")) if device is None else load_parameter(problem, device)
    stream, low, high = problem.streams[0], parameter.value / 30, parameter.value * 30
    pieces = ranges(parameter, stream, Objective.ENERGY, _least_energy, low=low, high=high)
    assert (pieces[0].low, pieces[-1].high) == pytest.approx((low, high))
    assert all(before.high == after.low and before.route != after.route for before, after in pairwise(pieces))
    for piece in pieces:
        for share in (0.0, 0.03, 0.5, 0.97, 1.0):
            there = parameter.at(piece.low + share * (piece.high - piece.low))
            least = CostModel(there).energy_j(stream, _least_energy(there, stream))
            assert CostModel(there).energy_j(stream, piece.route) == pytest.approx(least)


def test_a_search_that_proves_nothing_gives_no_ranges() -> None:
    problem = _three(random.Random(0))
    parameter = load_parameter(problem, "a")
    assert ranges(parameter, problem.streams[0], Objective.ENERGY, lambda *_: None, low=0.1, high=10.0) == ()


def test_what_is_not_there_cannot_change() -> None:
    problem = _three(random.Random(0))
    with pytest.raises(KeyError):
        bandwidth_parameter(problem, ("a", "nobody"))
    with pytest.raises(KeyError):
        load_parameter(problem, "nobody")


def test_lines() -> None:
    rising, flat = Line(1.0, 2.0), Line(5.0, 0.0)
    assert (rising.at(3.0), rising.times(2.0)) == (7.0, Line(2.0, 4.0))
    assert (rising.meets(flat), rising.meets(Line(0.0, 2.0))) == (2.0, None)
    assert (rising.reaches(7.0), flat.reaches(5.0), flat.reaches(4.0)) == (3.0, inf, -inf)
