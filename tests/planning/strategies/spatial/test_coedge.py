import random

import pytest
from scipy.optimize import linprog

from planning.strategies.spatial.coedge import balanced_ratio, equal_ends, workload_partition
from tests.support.spatial_problems import group_of, meshed, row_chain


def test_shares_end_at_once_by_hand() -> None:
    # t = (1 + 1/2) / (1/2 + 1/2) = 1.5
    assert equal_ends([2.0, 2.0], [0.0, 1.0]) == pytest.approx([0.75, 0.25])
    assert equal_ends([1.0, 1.0], [0.0, 5.0]) == [1.0, 0.0]
    assert equal_ends([3.0], [9.0]) == [1.0]


def test_shares_solve_the_linear_programme() -> None:
    rng = random.Random("coedge")
    for _ in range(50):
        count = rng.randint(1, 6)
        c = [rng.uniform(0.1, 10) for _ in range(count)]
        d = [rng.uniform(0, 0.2) for _ in range(count)]
        shares = equal_ends(c, d)
        assert sum(shares) == pytest.approx(1)
        taking = [k for k in range(count) if shares[k] > 0]
        # Over the devices with a share: minimise t, subject to c a + d <= t, sum a = 1.
        found = linprog(
            [0.0] * len(taking) + [1.0],
            A_ub=[[c[k] * (k == other) for other in taking] + [-1.0] for k in taking],
            b_ub=[-d[k] for k in taking],
            A_eq=[[1.0] * len(taking) + [0.0]],
            b_eq=[1.0],
        )
        assert max(c[k] * shares[k] + d[k] for k in taking) == pytest.approx(found.fun)


def test_a_device_with_fewer_rows_than_the_halo_is_dropped() -> None:
    # Three equal devices have 2 2/3 rows each; a kernel of 7 rows has a halo of 3, and one of 5 of 2.
    wide = group_of(meshed(row_chain([(7, 1, 3, 8)], input_rows=8), [10.0] * 3, [100] * 3))
    assert balanced_ratio(wide, wide.units) == pytest.approx([0, 0.5, 0.5])
    narrow = group_of(meshed(row_chain([(5, 1, 2, 8)], input_rows=8), [10.0] * 3, [100] * 3))
    assert balanced_ratio(narrow, narrow.units) == pytest.approx([1 / 3] * 3)


def test_a_slow_link_lowers_the_share() -> None:
    model = row_chain([(1, 1, 0, 100), (1, 1, 0, 100)], input_rows=100)
    group = group_of(meshed(model, [100.0, 100.0], [8, 80]))
    # 100,000 bytes take 100 ms at 8 Mbps and 10 ms at 80 Mbps; a kernel of 1 has no halo. Rows cost 200 and 110 ms.
    assert balanced_ratio(group, group.units) == pytest.approx([110 / 310, 200 / 310])
    assert [volume.rows for volume in workload_partition(group).volumes] == [((0, 35), (35, 100))] * 2
