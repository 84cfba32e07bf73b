"""Ranges of rows against sets of indices."""

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.row_ranges import NOTHING, convex_union, equal_ranges, intersection, partition_faults


def test_unions_contain_what_lies_between() -> None:
    assert convex_union((2, 5), (7, 9)) == (2, 9)
    assert convex_union(NOTHING, (7, 9)) == convex_union((7, 9), (4, 4)) == (7, 9)


def test_intersections() -> None:
    assert intersection((2, 8), (7, 9)) == (7, 8)
    assert intersection((2, 7), (7, 9)) == NOTHING


@settings(max_examples=50)
@given(st.data(), st.integers(1, 300))
def test_equal_ranges_make_every_row_once(data: st.DataObject, height: int) -> None:
    ranges = equal_ranges(height, data.draw(st.integers(1, height)))
    assert [row for top, bottom in ranges for row in range(top, bottom)] == list(range(height))
    sizes = {bottom - top for top, bottom in ranges}
    assert max(sizes) - min(sizes) <= 1


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=4))
def test_ranges_without_a_fault_are_those_that_make_every_row_once(ranges: list[tuple[int, int]]) -> None:
    rows = sorted(row for top, bottom in ranges for row in range(top, bottom))
    complete = rows == list(range(len(rows))) and all(top < bottom for top, bottom in ranges)
    assert (not list(partition_faults(ranges))) == complete


def test_faults_name_the_rows() -> None:
    assert list(partition_faults([(0, 4), (6, 9), (8, 12), (3, 3)])) == [
        (3, "rows [3, 3) are none: leave the tile out"),
        (1, "rows [4, 6) belong to no tile"),
        (2, "rows [8, 9) belong to two tiles"),
    ]
