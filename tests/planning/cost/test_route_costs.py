"""Hand-computed costs of one request, term by term."""

import pytest

from planning.cost.route_costs import NoLinkError, RouteCostModel
from planning.problem.plan import sequential_route
from planning.problem.problem import Block, Device, Link, Model, Problem, RowProfile, Stream
from planning.queueing.operations import Operation, Work
from tests.support.two_device_problem import STREAM, two_device_problem


def test_compute_is_load_times_blocks_plus_overhead() -> None:
    costs = RouteCostModel(two_device_problem())
    assert costs.compute_ms("a", "m", 0, 2) == 2 * (30 + 1)
    assert costs.compute_ms("a", "m", 1, 2) == 2 * (20 + 1)
    assert costs.compute_ms("b", "m", 0, 1) == 1.5


def test_a_tile_takes_its_share_of_the_blocks_and_the_overheads_of_a_segment_and_a_tile_under_load() -> None:
    block = Block("b", 100.0, rows=RowProfile(10))
    device = Device({"m": (8.0,)}, load_factor=2.0, segment_overhead_ms=0.5, tile_overhead_ms=1.5)
    costs = RouteCostModel(Problem({"m": Model(100.0, (block,))}, {"pi": device}, (), (Stream("s", "m", "pi"),)))
    assert costs.tile_ms("pi", "m", 0, [(0, 5)]) == 2 * (4.0 + 0.5 + 1.5)
    assert costs.compute_ms("pi", "m", 0, 1) == 2 * (8.0 + 0.5)


def test_transfer_is_latency_plus_bits_over_bandwidth_both_ways() -> None:
    costs = RouteCostModel(two_device_problem())
    assert costs.transfer_ms("a", "b", 2000) == costs.transfer_ms("b", "a", 2000) == 1.5 + 2.0
    assert costs.transfer_ms("a", "a", 2000) == 0


def test_a_link_given_in_both_directions_keeps_both() -> None:
    costs = RouteCostModel(
        Problem(
            {"m": Model(1, (Block("x", 1),))},
            {"a": Device(), "b": Device()},
            (Link("a", "b", 8.0), Link("b", "a", 4.0)),
            (STREAM,),
        )
    )
    assert (costs.transfer_ms("a", "b", 1000), costs.transfer_ms("b", "a", 1000)) == (1.0, 2.0)


def test_missing_link() -> None:
    costs = RouteCostModel(Problem({}, {"a": Device(), "b": Device()}, (), (STREAM,)))
    with pytest.raises(NoLinkError):
        costs.transfer_ms("a", "b", 1)


def test_codec_time_grows_sender_and_receiver() -> None:
    costs = RouteCostModel(two_device_problem())
    route = sequential_route([(0, 1, "a", "int8"), (1, 2, "b", "raw")])
    assert costs.latency_ms(STREAM, route) == (22 + 2 * 3.0) + (1.5 + 0.5) + (2.5 + 4.0 / 2)


def test_input_and_result_travel_when_they_must() -> None:
    stream = Stream("s", "m", "a", sink="a")
    costs = RouteCostModel(two_device_problem(stream))
    route = sequential_route([(0, 2, "b", "raw")])
    assert costs.latency_ms(stream, route) == (1.5 + 4.0) + 3.5 + (1.5 + 1.0)
    assert costs.energy_j(stream, route) == pytest.approx((0.8 * 5.5 + 10 * 3.5 + (0.7 + 0.25) * 2.5) / 1000)


def test_codec_is_ignored_where_nothing_is_sent() -> None:
    costs = RouteCostModel(two_device_problem())
    assert costs.latency_ms(STREAM, sequential_route([(0, 2, "a", "int8")])) == 62


def test_a_device_visited_twice_is_busy_twice() -> None:
    costs = RouteCostModel(two_device_problem(Stream("s", "m", "b")))
    stream = costs.problem.streams[0]
    route = sequential_route([(0, 1, "a", "raw"), (1, 2, "b", "raw")])
    assert costs.busy_ms(stream, route)[("b", Work.SEND)] == 5.5
    assert costs.busy_ms(stream, route)[("a", Work.SEND)] == 3.5


def test_the_power_of_computing_is_above_idling_and_that_of_sending_at_both_ends() -> None:
    costs = RouteCostModel(two_device_problem())
    assert costs.power_w(Operation(Work.COMPUTE, "a", 1.0, 0)) == 5.0 - 1.0
    assert costs.power_w(Operation(Work.SEND, "b", 1.0, 0, "a")) == 0.7 + 0.25


def test_all_costs_of_a_request_in_one() -> None:
    costs = RouteCostModel(two_device_problem())
    route = sequential_route([(0, 1, "a", "raw"), (1, 2, "b", "raw")])
    found = costs.route_cost(STREAM, route)
    assert found.latency_ms == costs.latency_ms(STREAM, route)
    assert found.energy_j == costs.energy_j(STREAM, route)
    assert found.server_ms == costs.server_ms(STREAM, route)
    assert found.source_share == 0.5
    assert costs.off_source_blocks(STREAM, route) == 1.0


def test_an_encoding_that_is_not_offered() -> None:
    with pytest.raises(KeyError, match="no encoding int8 at cut 2"):
        RouteCostModel(two_device_problem()).encoding("m", 2, "int8")
