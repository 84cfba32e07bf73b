"""Hand-computed costs of plans, term by term."""

import random

import pytest

from planning.cost.cost_model import CostModel
from planning.problem.plan import StreamPlan, sequential_route
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.queueing.completion_times import LONG_BURST, chain_ends_ms
from planning.queueing.operations import Work
from shared.policy import Objective
from tests.support.two_device_problem import STREAM, two_device_problem


def test_split_route_raw() -> None:
    costs = CostModel(two_device_problem())
    route = sequential_route([(0, 1, "a", "raw"), (1, 2, "b", "raw")])
    assert costs.latency_ms(STREAM, route) == 2 * 11 + 3.5 + 2.5
    assert costs.busy_ms(STREAM, route) == {("a", Work.COMPUTE): 22.0, ("a", Work.SEND): 3.5, ("b", Work.COMPUTE): 2.5}
    assert costs.energy_j(STREAM, route) == pytest.approx((4 * 22 + (0.5 + 0.3) * 3.5 + 10 * 2.5) / 1000)
    predicted = costs.predict({"s": StreamPlan((route,))})
    assert predicted.throughput_hz == pytest.approx(1000 / 22)
    assert predicted.makespan_ms == predicted.latency_ms == 28.0
    assert predicted.source_share == 0.5


def test_weighted_routes() -> None:
    stream = Stream("s", "m", "a", jobs=3)
    costs = CostModel(two_device_problem(stream))
    local, split = (
        sequential_route([(0, 2, "a", "raw")], 1),
        sequential_route([(0, 1, "a", "raw"), (1, 2, "b", "raw")], 2),
    )
    plans = {"s": StreamPlan((local, split), (1, 2, 0))}
    predicted = costs.predict(plans)
    assert predicted.latency_ms == pytest.approx((62 + 2 * 28) / 3)
    assert predicted.throughput_hz == pytest.approx(3000 / (62 + 44))
    assert predicted.makespan_ms == 22 + 22 + 62
    assert costs.cost(Objective.TOTAL_DELAY, plans, predicted) == (28 + 50 + 106)
    assert costs.cost(Objective.DEADLINE, plans, predicted) == pytest.approx(2 / 3)


def test_free_work_has_no_throughput_bound() -> None:
    problem = Problem({"m": Model(0, (Block("x", 0),))}, {"a": Device({"m": (0.0,)})}, (), (STREAM,))
    predicted = CostModel(problem).predict({"s": StreamPlan((sequential_route([(0, 1, "a", "raw")]),))})
    assert predicted.throughput_hz is None


def test_the_cost_of_a_long_burst_is_that_of_its_events() -> None:
    rng = random.Random("long burst")
    model = Model(1e5, tuple(Block(f"b{index}", rng.uniform(1e3, 1e5)) for index in range(4)))
    devices = {name: Device({"m": tuple(rng.uniform(1, 9) for _ in range(4))}) for name in ("a", "b")}
    stream = Stream("s", "m", "a", jobs=2 * LONG_BURST)
    problem = Problem({"m": model}, devices, (Link("a", "b", 20.0),), (stream,))
    routes = (
        sequential_route([(0, 2, "a", "raw"), (2, 4, "b", "raw")], LONG_BURST),
        sequential_route([(0, 4, "a", "raw")], LONG_BURST),
    )
    order = list(range(stream.jobs))
    rng.shuffle(order)
    costs = CostModel(problem)
    kinds = [costs.operations(stream, route) for route in routes]
    expected = chain_ends_ms(kinds, [place // LONG_BURST for place in order])
    assert costs.delays_ms({"s": StreamPlan(routes, tuple(order))}) == pytest.approx(expected, rel=1e-9)
