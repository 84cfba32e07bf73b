"""What routes with tiles cost: closed forms, and an example computed by hand."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from planning.cost.cost_model import CostModel
from planning.cost.route_costs import NoLinkError
from planning.problem.plan import Route, Stage, StreamPlan, Tile, sequential_route
from planning.problem.problem import Block, CodecProfile, Device, Link, Model, Problem, RowProfile, Stream
from planning.queueing.operations import Operation, Work
from planning.tiles.rows import UntileableError
from shared.policy import Objective

ENDLESS_MBPS = 1e15
HALF = (Tile("a", (0, 5)), Tile("b", (5, 10)))


def _two_devices(*blocks: Block, bandwidth_mbps: float = ENDLESS_MBPS) -> Problem:
    times = {"m": (100.0,) * len(blocks)}
    return Problem(
        {"m": Model(1000, blocks, None, 10)},
        {name: Device(times, power_active_w=5.0, power_tx_w=1.0, power_rx_w=2.0) for name in "ab"},
        (Link("a", "b", bandwidth_mbps),),
        (Stream("s", "m", "a"),),
    )


def _conv(output_bytes: float = 1000, codecs: Mapping[str, CodecProfile] | None = None) -> Block:
    return Block("conv", output_bytes, codecs=codecs or {}, rows=RowProfile(10, 3, 1, 1))


def _latency_ms(problem: Problem, *stages: Stage) -> float:
    return CostModel(problem).latency_ms(problem.streams[0], Route(stages))


def _operations(problem: Problem, *stages: Stage) -> tuple[Operation, ...]:
    return CostModel(problem).operations(problem.streams[0], Route(stages))


def test_two_devices_without_network_take_half_the_time_and_the_overlap() -> None:
    assert _latency_ms(_two_devices(_conv()), Stage(0, 1, HALF)) == pytest.approx(50)
    assert _latency_ms(_two_devices(_conv(), _conv()), Stage(0, 2, HALF)) == pytest.approx(100 + 10)
    assert _latency_ms(_two_devices(*[_conv()] * 4), Stage(0, 4, HALF)) == pytest.approx(200 + 10 + 20 + 30)
    # A stage per block exchanges the halo instead of computing it.
    problem = _two_devices(*[_conv()] * 4)
    assert _latency_ms(problem, *(Stage(index, index + 1, HALF) for index in range(4))) == pytest.approx(200)


def test_overhead_and_load_count_for_every_tile() -> None:
    problem = _two_devices(_conv(), _conv())
    loaded = {name: replace(own, segment_overhead_ms=7.0, load_factor=2.0) for name, own in problem.devices.items()}
    problem = replace(problem, devices=loaded)
    assert _latency_ms(problem, Stage(0, 2, HALF)) == pytest.approx(2 * (110 + 7))


def test_one_tile_of_all_rows_is_the_untiled_stage() -> None:
    problem = _two_devices(_conv(3333, codecs={"int8": CodecProfile(700, 3.0, 4.0)}), _conv(), bandwidth_mbps=8.0)
    stream = replace(problem.streams[0], sink="a")
    whole = sequential_route([(0, 1, "a", "int8"), (1, 2, "b", "raw")])
    tiled = Route(tuple(replace(stage, tiles=(Tile(stage.device, (0, 10)),)) for stage in whole.stages))
    costs = CostModel(problem)
    assert costs.operations(stream, tiled) == costs.operations(stream, whole)
    plans = [{"s": StreamPlan((route,))} for route in (whole, tiled)]
    assert costs.predict(plans[0]) == costs.predict(plans[1])


def test_untiled_stages_beside_tiled_ones_cost_what_they_cost_alone() -> None:
    codec = {"int8": CodecProfile(500, 3.0, 4.0)}
    problem = _two_devices(_conv(codecs=codec), _conv(codecs=codec), _conv(), bandwidth_mbps=8.0)
    stages = (Stage(0, 1, (Tile("b"),), "int8"), Stage(1, 2, (Tile("a"),), "raw"), Stage(2, 3, HALF))
    mixed, plain = _operations(problem, *stages), _operations(problem, *stages[:2], Stage(2, 3, (Tile("a"),)))
    assert [replace(operation, needs=None) for operation in mixed[:4]] == [*plain[:4]]
    assert [operation.needs for operation in mixed[:4]] == [(), (0,), (1,), (2,)]


def _two_volumes() -> tuple[Problem, Route]:
    """The first six layers of VGG16 on two devices, in two volumes, and the rest on the first."""
    shapes = [
        ("conv1_1", 64, 224, 3, 22.4),
        ("conv1_2", 64, 224, 3, 44.8),
        ("pool1", 64, 112, 2, 11.2),
        ("conv2_1", 128, 112, 3, 22.4),
        ("conv2_2", 128, 112, 3, 33.6),
        ("pool2", 128, 56, 2, 5.6),
    ]
    blocks = tuple(
        Block(
            name,
            4 * channels * rows * rows,
            parameter_bytes=1000,
            rows=RowProfile(rows, 3, 1, 1) if kernel == 3 else RowProfile(rows, 2, 2),
        )
        for name, channels, rows, kernel, _ in shapes
    )
    times = (*(time_ms for *_, time_ms in shapes), 5.0)
    device = Device({"vgg16": times}, power_idle_w=1.0, power_active_w=5.0, power_tx_w=2.0, power_rx_w=0.5)
    problem = Problem(
        {"vgg16": Model(602112, (*blocks, Block("rest", 4000, parameter_bytes=1e6)), None, 224)},
        {"a": device, "b": device},
        (Link("a", "b", 100.0),),
        (Stream("s", "vgg16", "a"),),
    )
    volumes = (
        Stage(0, 3, (Tile("a", (0, 56)), Tile("b", (56, 112)))),
        Stage(3, 6, (Tile("a", (0, 28)), Tile("b", (28, 56)))),
    )
    return problem, Route((*volumes, Stage(6, 7, (Tile("a"),))))


def test_two_volumes_of_vgg16_by_hand() -> None:
    """Rows: tile (0, 56) of pool1 takes 112 of conv1_2, 113 of conv1_1, 114 of the input; the other one as many.

    Tile (0, 28) of pool2 takes 56 of conv2_2, 57 of conv2_1 and 58 of pool1, two of which the neighbour made.
    """
    problem, route = _two_volumes()
    first_ms, second_ms = 113 * 0.1 + 112 * 0.2 + 56 * 0.1, 57 * 0.2 + 56 * 0.3 + 28 * 0.1
    scatter_ms, halo_ms, gather_ms = (8 * size / 1e5 for size in (114 * 2688, 2 * 28672, 28 * 28672))
    costs, stream = CostModel(problem), problem.streams[0]
    steps = [
        (Work.SEND, "a", scatter_ms, (), (110, 224)),
        (Work.COMPUTE, "a", first_ms, (), (0, 56)),
        (Work.COMPUTE, "b", first_ms, (0,), (56, 112)),
        (Work.SEND, "a", halo_ms, (1,), (54, 56)),
        (Work.SEND, "b", halo_ms, (2,), (56, 58)),
        (Work.COMPUTE, "a", second_ms, (1, 4), (0, 28)),
        (Work.COMPUTE, "b", second_ms, (2, 3), (28, 56)),
        (Work.SEND, "b", gather_ms, (6,), (28, 56)),
        (Work.COMPUTE, "a", 5.0, (5, 7), None),
    ]
    operations = costs.operations(stream, route)
    assert [(own.work, own.device, own.needs, own.rows) for own in operations] == [
        (work, device, needs, rows) for work, device, _, needs, rows in steps
    ]
    assert [own.duration_ms for own in operations] == pytest.approx([time_ms for _, _, time_ms, *_ in steps])
    # b is last with the first volume, has its halo long since, and its rows of the second are the last to come.
    latency_ms = scatter_ms + first_ms + second_ms + gather_ms + 5
    assert costs.latency_ms(stream, route) == pytest.approx(latency_ms) == pytest.approx(164.03984)
    predicted = costs.predict({"s": StreamPlan((route,))})
    assert predicted.makespan_ms == predicted.latency_ms
    assert predicted.throughput_hz == pytest.approx(1000 / (first_ms + second_ms + 5))
    computing_ms, sending_ms = 2 * first_ms + 2 * second_ms + 5, scatter_ms + 2 * halo_ms + gather_ms
    assert predicted.energy_j == pytest.approx((4 * computing_ms + 2.5 * sending_ms) / 1000)


def test_encodings_are_shared_out_by_rows() -> None:
    """Tile b sends its half encoded, a decodes it; what a keeps is neither."""
    codec = {"int8": CodecProfile(250, encode_ms=8.0, decode_ms=6.0)}
    problem = _two_devices(_conv(codecs=codec), Block("fc", 10), bandwidth_mbps=8.0)
    found = _operations(problem, Stage(0, 1, HALF, "int8"), Stage(1, 2, (Tile("a"),)))
    assert [own.duration_ms for own in found] == pytest.approx([0.6, 50, 50 + 4, 0.125, 100 + 3])
    assert found[3].size_bytes == 125


def test_a_result_is_gathered_and_decoded_at_the_sink() -> None:
    codec = {"int8": CodecProfile(250, encode_ms=8.0, decode_ms=6.0)}
    problem = _two_devices(_conv(codecs=codec), bandwidth_mbps=8.0)
    stream = replace(problem.streams[0], sink="a")
    found = CostModel(problem).operations(stream, Route((Stage(0, 1, HALF, "int8"),)))
    assert (found[-1].device, found[-1].stage, found[-1].duration_ms, found[-1].needs) == ("a", 1, 3.0, (1, 3))


def test_rows_on_the_wire_are_as_large_as_the_block_says() -> None:
    odd = Block("conv", 1000, rows=RowProfile(10, 3, 1, 1, bytes_per_row=64.0))
    found = _operations(_two_devices(odd, _conv(), bandwidth_mbps=8.0), Stage(0, 1, HALF), Stage(1, 2, HALF))
    assert [own.size_bytes for own in found if own.work is Work.SEND] == [600, 64, 64]


def test_tabulated_rows() -> None:
    problem = _two_devices(_conv())
    device = replace(problem.devices["b"], row_ms={"m": (((4, 70.0), (6, 90.0)),)})
    problem = replace(problem, devices={**problem.devices, "b": device})
    assert [own.duration_ms for own in _operations(problem, Stage(0, 1, HALF)) if own.work is Work.COMPUTE] == [50, 80]


def test_rows_in_steps() -> None:
    problem = _two_devices(_conv())
    stepped = replace(problem.devices["b"], row_step=4)
    problem = replace(problem, devices={**problem.devices, "b": stepped})
    # Five of ten rows take the time of eight.
    assert [own.duration_ms for own in _operations(problem, Stage(0, 1, HALF)) if own.work is Work.COMPUTE] == [50, 80]


def _scattered(*, separate_links: bool) -> tuple[Problem, Route]:
    """A source that only sends: a third of 9 rows to each of three devices, 1000 bytes per row at 8 Mbps."""
    names, times = ("a", "b", "c"), {"m": (9.0,)}
    model = Model(9000, (Block("x", 9000, rows=RowProfile(9)),), None, 9)
    devices = {"phone": Device(separate_links=separate_links), **dict.fromkeys(names, Device(times))}
    links = tuple(Link("phone", name, 8.0) for name in names)
    tiles = tuple(Tile(name, (3 * at, 3 * at + 3)) for at, name in enumerate(names))
    return Problem({"m": model}, devices, links, (Stream("s", "m", "phone", "phone"),)), Route((Stage(0, 1, tiles),))


def test_separate_links_send_at_once_and_a_shared_one_in_turn() -> None:
    # 3 ms per sending, 3 ms per tile, and 3 ms back over each device's own link.
    for separate_links, latency_ms, bottleneck_ms in ((False, 9 + 3 + 3, 9), (True, 3 + 3 + 3, 3)):
        problem, route = _scattered(separate_links=separate_links)
        costs, stream = CostModel(problem), problem.streams[0]
        assert costs.latency_ms(stream, route) == latency_ms
        assert costs.predict({"s": StreamPlan((route,))}).throughput_hz == pytest.approx(1000 / bottleneck_ms)
        assert costs.busy_ms(stream, route)["phone", Work.SEND] == 9


def test_a_burst_fills_separate_links_as_the_predicted_throughput_says() -> None:
    problem, route = _scattered(separate_links=True)
    burst = StreamPlan((replace(route, jobs=50),), tuple(range(50)))
    # Each of the three resources in a row is busy for 3 ms per request.
    assert CostModel(problem).makespan_ms({"s": burst}) == pytest.approx(9 + 49 * 3)


def test_requests_of_a_burst_overlap_within_the_bound_of_the_bottleneck() -> None:
    problem, route = _two_volumes()
    plans = {"s": StreamPlan((replace(route, jobs=40),), tuple(range(40)))}
    alone_ms = CostModel(problem).latency_ms(problem.streams[0], route)
    assert 40 * (39.3 + 31.0 + 5) <= CostModel(problem).makespan_ms(plans) < 40 * alone_ms


def test_blocks_off_the_source_count_by_rows() -> None:
    problem, route = _two_volumes()
    costs, stream = CostModel(problem), problem.streams[0]
    assert costs.off_source_blocks(stream, route) == 3
    uneven = Route((Stage(0, 3, (Tile("a", (0, 84)), Tile("b", (84, 112)))), *route.stages[1:]))
    plans = {"s": StreamPlan((uneven,))}
    assert costs.cost(Objective.DEADLINE, plans, costs.predict(plans)) == 3 / 4 + 3 / 2


def test_what_cannot_be_costed() -> None:
    with pytest.raises(UntileableError, match="fc"):
        _operations(_two_devices(Block("fc", 10)), Stage(0, 1, HALF))
    with pytest.raises(NoLinkError, match="no link from a to b"):
        _operations(replace(_two_devices(_conv()), links=()), Stage(0, 1, HALF))
