import pytest

from benchmarks.spatial_cases import BOARDS, Case, board_device, cases, fp16_model, model_cases, staircase
from planning.search.device_network import DeviceNetwork
from planning.search.spatial_group import spatial_group
from shared.row_times import share_ms


def test_a_staircase_by_hand() -> None:
    # 8 rows in 4 steps of 2: a launch of 1 ms, and 10 ms of work.
    table = staircase(8, 1.0, 10.0, 4)
    times = [share_ms(11.0, table, rows, 8) for rows in range(9)]
    assert times == pytest.approx([0, 3.5, 3.5, 6, 6, 8.5, 8.5, 11, 11])
    # Fewer rows than steps: one step per row. Without steps: in proportion.
    assert [share_ms(5.0, staircase(4, 1.0, 4.0, 28), rows, 4) for rows in range(1, 5)] == pytest.approx([2, 3, 4, 5])
    assert [share_ms(5.0, staircase(4, 1.0, 4.0, 0), rows, 4) for rows in range(1, 5)] == pytest.approx([2, 3, 4, 5])
    assert staircase(1, 1.0, 4.0, 28) == ()


def test_a_board_takes_its_measured_time() -> None:
    model = fp16_model("vgg16")
    # 18 convolutions and poolings have rows, and 224 x 224 x 3 values of 2 bytes enter.
    assert [block.rows is not None for block in model.blocks] == [True] * 18 + [False] * 3
    assert model.input_bytes == 301_056
    for kind, board in BOARDS.items():
        times = board_device("vgg16", kind).block_ms["m"]
        assert sum(times[:18]) == pytest.approx(board.vgg16_ms + 18 * board.launch_ms)
        assert sum(times[18:]) == pytest.approx(board.dense_ms + 3 * board.launch_ms, rel=0.01)


def test_the_experiments_are_those_of_the_tables() -> None:
    found = {case.name: case for case in cases()}
    assert len(found) == 6 + 8 + 4
    assert [mbps for mbps, _ in found["ND xavier"].providers] == [50, 100, 200, 300]
    assert len(found["LB"].providers) == 16
    assert found["LB"].providers[4:8] == ((300, "pi3"), (200, "nano"), (100, "tx2"), (50, "xavier"))
    for case in [found["DC@50"], *model_cases()]:
        problem = case.problem()
        group = spatial_group(DeviceNetwork(problem), problem.streams[0])
        assert group is not None
        assert len(group.providers) == 4
        assert group.stretches()


def test_the_links_of_the_requester_are_one_or_several() -> None:
    own = Case("DA", ((50.0, "tx2"), (300.0, "nano"))).problem()
    assert own.devices["phone"].separate_links
    assert {(link.source, link.target): link.bandwidth_mbps for link in own.links} == {
        ("phone", "tx20"): 50,
        ("phone", "nano1"): 300,
        ("tx20", "nano1"): 50,
    }
    assert not Case("DA", ((50.0, "tx2"),), shared_uplink=True).problem().devices["phone"].separate_links
