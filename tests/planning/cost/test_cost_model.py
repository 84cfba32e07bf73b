"""Hand-computed costs, term by term."""

import pytest

from planning.cost.cost_model import CostModel
from planning.cost.route_costs import NoLinkError
from planning.problem.plan import StreamPlan, sequential_route
from planning.problem.problem import Block, CodecProfile, Device, Link, Model, Problem, Stream
from planning.queueing.operations import Work
from shared.policy import Objective

STREAM = Stream("s", "m", "a")


def _problem(**changes: object) -> Problem:
    blocks = (
        Block("x", 2000, codecs={"int8": CodecProfile(500, encode_ms=3.0, decode_ms=4.0)}),
        Block("y", 1000),
    )
    a = Device({"m": (10.0, 20.0)}, 2.0, 1.0, None, 1.0, 5.0, 0.5, 0.25)
    b = Device({"m": (1.0, 2.0)}, 1.0, 0.5, None, 2.0, 12.0, 0.7, 0.3, codec_speed=2.0)
    settings = {"streams": (STREAM,), **changes}
    return Problem({"m": Model(4000, blocks)}, {"a": a, "b": b}, (Link("a", "b", 8.0, 1.5),), **settings)


def test_compute_is_load_times_blocks_plus_overhead() -> None:
    costs = CostModel(_problem())
    assert costs.compute_ms("a", "m", 0, 2) == 2 * (30 + 1)
    assert costs.compute_ms("a", "m", 1, 2) == 2 * (20 + 1)
    assert costs.compute_ms("b", "m", 0, 1) == 1.5


def test_transfer_is_latency_plus_bits_over_bandwidth_both_ways() -> None:
    costs = CostModel(_problem())
    assert costs.transfer_ms("a", "b", 2000) == costs.transfer_ms("b", "a", 2000) == 1.5 + 2.0
    assert costs.transfer_ms("a", "a", 2000) == 0


def test_a_link_given_in_both_directions_keeps_both() -> None:
    costs = CostModel(
        Problem(
            {"m": Model(1, (Block("x", 1),))},
            {"a": Device(), "b": Device()},
            (Link("a", "b", 8.0), Link("b", "a", 4.0)),
            (STREAM,),
        )
    )
    assert (costs.transfer_ms("a", "b", 1000), costs.transfer_ms("b", "a", 1000)) == (1.0, 2.0)


def test_missing_link() -> None:
    costs = CostModel(Problem({}, {"a": Device(), "b": Device()}, (), (STREAM,)))
    with pytest.raises(NoLinkError):
        costs.transfer_ms("a", "b", 1)


def test_split_route_raw() -> None:
    costs = CostModel(_problem())
    route = sequential_route([(0, 1, "a", "raw"), (1, 2, "b", "raw")])
    assert costs.latency_ms(STREAM, route) == 2 * 11 + 3.5 + 2.5
    assert costs.busy_ms(STREAM, route) == {("a", Work.COMPUTE): 22.0, ("a", Work.SEND): 3.5, ("b", Work.COMPUTE): 2.5}
    assert costs.energy_j(STREAM, route) == pytest.approx((4 * 22 + (0.5 + 0.3) * 3.5 + 10 * 2.5) / 1000)
    predicted = costs.predict({"s": StreamPlan((route,))})
    assert predicted.throughput_hz == pytest.approx(1000 / 22)
    assert predicted.makespan_ms == predicted.latency_ms == 28.0
    assert predicted.source_share == 0.5


def test_codec_time_grows_sender_and_receiver() -> None:
    costs = CostModel(_problem())
    route = sequential_route([(0, 1, "a", "int8"), (1, 2, "b", "raw")])
    assert costs.latency_ms(STREAM, route) == (22 + 2 * 3.0) + (1.5 + 0.5) + (2.5 + 4.0 / 2)


def test_input_and_result_travel_when_they_must() -> None:
    stream = Stream("s", "m", "a", sink="a")
    costs = CostModel(_problem(streams=(stream,)))
    route = sequential_route([(0, 2, "b", "raw")])
    assert costs.latency_ms(stream, route) == (1.5 + 4.0) + 3.5 + (1.5 + 1.0)
    assert costs.energy_j(stream, route) == pytest.approx((0.8 * 5.5 + 10 * 3.5 + (0.7 + 0.25) * 2.5) / 1000)


def test_codec_is_ignored_where_nothing_is_sent() -> None:
    costs = CostModel(_problem())
    assert costs.latency_ms(STREAM, sequential_route([(0, 2, "a", "int8")])) == 62


def test_a_device_visited_twice_is_busy_twice() -> None:
    costs = CostModel(_problem(streams=(Stream("s", "m", "b"),)))
    stream = costs.problem.streams[0]
    route = sequential_route([(0, 1, "a", "raw"), (1, 2, "b", "raw")])
    assert costs.busy_ms(stream, route)[("b", Work.SEND)] == 5.5
    assert costs.busy_ms(stream, route)[("a", Work.SEND)] == 3.5


def test_weighted_routes() -> None:
    stream = Stream("s", "m", "a", jobs=3)
    costs = CostModel(_problem(streams=(stream,)))
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
