from dataclasses import replace

import pytest

from planning.problem.problem import Block, Link, Model, RowProfile
from planning.search.device_network import DeviceNetwork
from planning.search.spatial_group import RowUnit, row_units, spatial_group
from shared.policy import Policy
from tests.support.spatial_problems import group_of, meshed, row_chain

CHAIN = row_chain([(3, 1, 1, 8), (2, 2, 0, 4)], input_rows=8)


def test_units_of_a_branching_model_end_where_one_output_crosses() -> None:
    rows = RowProfile(8, 3, 1, 1)
    blocks = tuple(Block(name, 80, 1, rows=None if name in "ef" else rows) for name in "abcdef")
    # b and c both read a, d joins them, e and f have no rows.
    edges = ((0, 1, 80.0), (0, 2, 80.0), (1, 3, 80.0), (2, 3, 80.0), (3, 4, 80.0), (4, 5, 80.0))
    assert row_units(Model(80, blocks, edges)) == (RowUnit(0, 1, 8), RowUnit(1, 4, 8), RowUnit(4, 6, None))


def test_providers_are_linked_with_each_other_and_taken_by_capability() -> None:
    problem = meshed(CHAIN, [5.0, 1.0, 3.0], [10] * 3)
    assert group_of(problem).providers == ("d0", "d1", "d2")
    assert group_of(problem).fastest == group_of(problem).gateway == "d1"
    two = replace(problem, policy=Policy(max_devices=2))
    assert group_of(two).providers == ("d1", "d2")
    # Without the link between the two fastest, the third one takes the second one's place.
    parted = replace(problem, links=tuple(link for link in problem.links if link.source != "d1"))
    assert group_of(parted).providers == ("d0", "d1")
    no_way = replace(problem, links=(Link("d0", "d1", 10),))
    assert spatial_group(DeviceNetwork(no_way), no_way.streams[0]) is None


def test_devices_that_cannot_hold_all_blocks_do_not_take_part() -> None:
    problem = meshed(CHAIN, [5.0, 1.0, 3.0], [10] * 3)
    small = replace(problem.devices["d1"], first_blocks=1)
    assert group_of(replace(problem, devices={**problem.devices, "d1": small})).providers == ("d0", "d2")


def test_an_input_that_stays_at_the_source_is_read_there() -> None:
    problem = meshed(CHAIN, [5.0, 1.0, 3.0], [10] * 3)
    problem = replace(problem, policy=Policy(raw_input_stays_on_source=True, max_devices=2))
    assert spatial_group(DeviceNetwork(problem), problem.streams[0]) is None
    stream = replace(problem.streams[0], source="d0", sink=None)
    group = group_of(replace(problem, streams=(stream,)))
    assert group.providers == ("d0", "d1")
    assert group.gateway == "d0"
    assert group.units == (RowUnit(0, 1, None), RowUnit(1, 2, 4))


def test_capability_is_the_inverse_of_the_time_under_load() -> None:
    problem = meshed(CHAIN, [30.0, 10.0], [10] * 2)
    assert group_of(problem).capability_shares() == pytest.approx([0.25, 0.75])
    loaded = replace(problem.devices["d1"], load_factor=3.0)
    assert group_of(replace(problem, devices={**problem.devices, "d1": loaded})).capability_shares() == [0.5, 0.5]
    timeless = group_of(meshed(CHAIN, [0.0, 10.0, 0.0], [10] * 3))
    assert timeless.capability_shares() == [0.5, 0.0, 0.5]
