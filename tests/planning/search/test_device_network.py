"""What is looked up once: leaves that no quickest route needs, and offers of a model."""

import random

import pytest

from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.search.chain_path import cheapest_path
from planning.search.cost_tables import build_tables, latency_measure, latency_tables
from planning.search.device_network import DeviceNetwork, network_of
from shared.policy import DeviceRule, Policy


def _star(rng: random.Random, leaves: int) -> Problem:
    """A hub with leaves, of which most are slower; some have a second link."""
    blocks = tuple(Block(f"b{index}", rng.randint(1, 200_000)) for index in range(4))
    times = [rng.uniform(1, 9) for _ in blocks]
    devices = {"hub": Device({"m": tuple(times)}, segment_overhead_ms=1.0)}
    links = []
    for name in (f"leaf{index}" for index in range(leaves)):
        factor = rng.choice([0.3, 1.0, 3.0, 8.0])
        own = tuple(factor * time_ms * rng.uniform(0.9, 1.1) for time_ms in times)
        devices[name] = Device({"m": own}, segment_overhead_ms=rng.choice([0.0, 2.0]))
        links.append(Link("hub", name, rng.uniform(5, 300), 1.0))
    if leaves > 1 and rng.random() < 0.5:
        links.append(Link("leaf0", "leaf1", 100.0))
    stream = Stream("s", "m", rng.choice(list(devices)), rng.choice([None, *devices]))
    return Problem({"m": Model(300_000, blocks)}, devices, tuple(links), (stream,), Policy())


def test_without_slower_leaves_the_quickest_route_is_the_same() -> None:
    rng = random.Random("leaves")
    left_out = 0
    for _ in range(200):
        problem = _star(rng, rng.randint(1, 5))
        network, stream = DeviceNetwork(problem), problem.streams[0]
        few, all_of_them = latency_tables(network, stream), build_tables(problem, stream, network)
        left_out += len(few.nodes) < len(all_of_them.nodes)
        quick, plain = cheapest_path(latency_measure(few)), cheapest_path(latency_measure(all_of_them))
        assert quick is not None
        assert plain is not None
        assert quick.cost == pytest.approx(plain.cost)
    assert left_out > 40


def test_devices_that_are_denied_or_cannot_run_are_not_able() -> None:
    devices = {"a": Device({"m": (1.0,)}), "b": Device({"m": (1.0,)}), "c": Device()}
    policy = Policy(devices=DeviceRule(deny=("b",)))
    problem = Problem({"m": Model(1, (Block("x", 1),))}, devices, (), (Stream("s", "m", "a"),), policy)
    network = DeviceNetwork(problem)
    assert network.able("m") == ("a",)
    assert network.can_run("a", "m")
    assert not network.can_run("b", "m")


def test_a_network_is_only_shared_within_its_problem() -> None:
    problem = _star(random.Random(1), 2)
    other = _star(random.Random(2), 2)
    network = DeviceNetwork(problem)
    assert network_of(problem, network) is network
    assert network_of(other, network).problem is other
