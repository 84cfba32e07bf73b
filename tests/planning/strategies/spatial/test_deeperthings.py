from dataclasses import replace

from planning.strategies.spatial.deeperthings import equal_volumes
from tests.support.spatial_problems import group_of, meshed, row_chain

MODEL = row_chain([(3, 1, 1, 8), (3, 1, 1, 8), (3, 1, 1, 8)], input_rows=8)


def test_slow_links_fuse_and_fast_ones_part_layers() -> None:
    # The input has rows of 10 bytes, features of 1,000: a boundary costs a row of halo, 8 ms at 1 Mbps and 0.8 us at
    # 10 Gbps. Fused, a device computes up to two rows more of a layer, of 2.5 ms each.
    small_input = replace(MODEL, input_bytes=80.0)
    slow = equal_volumes(group_of(meshed(small_input, [60.0] * 2, [1] * 2)))
    assert [(volume.start, volume.stop) for volume in slow.volumes] == [(0, 3)]
    assert slow.volumes[0].rows == ((0, 4), (4, 8))
    fast = equal_volumes(group_of(meshed(small_input, [60.0] * 2, [10_000] * 2)))
    assert [(volume.start, volume.stop) for volume in fast.volumes] == [(0, 1), (1, 2), (2, 3)]


def test_parts_are_equal_on_unequal_devices() -> None:
    volumes = equal_volumes(group_of(meshed(MODEL, [1.0, 500.0], [100] * 2))).volumes
    assert all(volume.rows == ((0, 4), (4, 8)) for volume in volumes)
