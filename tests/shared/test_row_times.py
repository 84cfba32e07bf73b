"""Times of some rows of a block."""

import pytest

from shared.row_times import share_ms


def test_shares_of_a_block_are_proportional_or_tabulated() -> None:
    assert share_ms(8.0, None, 7, 28) == 2
    assert share_ms(8.0, (), 28, 28) == 8
    stairs = ((7, 4.0), (14, 4.0), (15, 6.0))
    assert [share_ms(8.0, stairs, rows, 28) for rows in (0, 7, 10, 14, 15, 28)] == [0, 4, 4, 4, 6, 8]
    assert share_ms(8.0, stairs, 1, 28) == pytest.approx(4 / 7)
    assert share_ms(19.0, stairs, 16, 28) == 7
