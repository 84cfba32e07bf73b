"""Tables of a block's times by rows."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.segments.row_table import RunTime, measured_heights, row_table
from shared.messages.bounds import MAX_ROW_POINTS

WHOLE = RunTime(9.0, 0.1)


def table(*times_ms: float, error_ms: float = 0.01, own_ms: float = 8.0) -> list[float]:
    tiles = [(rows, RunTime(time_ms, error_ms)) for rows, time_ms in enumerate(times_ms, start=1)]
    return [time_ms for _, time_ms in row_table(WHOLE, tiles, own_ms=own_ms, overhead_ms=1.0)]


@pytest.mark.parametrize(
    ("of", "heights"), [(1, ()), (2, (1,)), (3, (1, 2)), (7, (1, 2, 4)), (13, (1, 2, 4, 7)), (224, (1, 28, 56, 112))]
)
def test_a_few_heights_are_measured(of: int, heights: Sequence[int]) -> None:
    assert measured_heights(of) == heights
    assert len(heights) <= MAX_ROW_POINTS


def test_the_overhead_of_a_segment_is_taken_out_of_tiles() -> None:
    assert table(2.0, 5.0) == pytest.approx([1.0, 4.0])


def test_shares_are_those_of_the_blocks_own_time() -> None:
    assert table(2.0, 5.0, own_ms=16.0) == pytest.approx([2.0, 8.0])


def test_a_block_that_is_lost_in_the_overhead_has_no_table() -> None:
    assert row_table(RunTime(1.0, 0.1), [(1, RunTime(0.9, 0.1))], own_ms=0.0, overhead_ms=1.0) == ()
    assert row_table(RunTime(0.5, 0.1), [(1, RunTime(0.4, 0.1))], own_ms=0.1, overhead_ms=1.0) == ()
    assert table(0.5, 5.0) == pytest.approx([0.0, 4.0])


def test_times_that_descend_within_noise_get_their_mean() -> None:
    assert table(3.2, 3.0, 6.0, error_ms=0.2) == pytest.approx([2.1, 2.1, 5.0])
    assert table(3.4, 3.2, 3.0, error_ms=0.3) == pytest.approx([2.2, 2.2, 2.2])


def test_a_slower_kernel_for_few_rows_is_no_noise() -> None:
    assert table(5.0, 3.0, 6.0) == pytest.approx([4.0, 2.0, 5.0])
    assert table(5.0, 20.0) == pytest.approx([4.0, 19.0])


def test_no_tile_is_slower_than_its_block_by_noise() -> None:
    assert table(5.0, 9.1) == pytest.approx([4.0, 8.0])


def test_the_error_of_a_median_falls_with_the_runs() -> None:
    few, many = RunTime.of([9.0, 10.0, 11.0]), RunTime.of([9.0, 10.0, 11.0] * 16)
    assert (few.median_ms, many.median_ms) == (10.0, 10.0)
    assert few.error_ms == pytest.approx(4 * many.error_ms)
    assert RunTime.of([10.0]).error_ms == pytest.approx(0.2)


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=8), st.floats(0, 100), st.floats(0.001, 100))
def test_times_are_never_negative_and_ascend_where_noise_is_large(
    times_ms: list[float], overhead_ms: float, own_ms: float
) -> None:
    tiles = [(rows, RunTime(time_ms, 1e6)) for rows, time_ms in enumerate(times_ms, start=1)]
    found = row_table(RunTime(1000.0, 1.0), tiles, own_ms=own_ms, overhead_ms=overhead_ms)
    values = [time_ms for _, time_ms in found]
    assert values == sorted(values)
    assert min(values) >= 0
