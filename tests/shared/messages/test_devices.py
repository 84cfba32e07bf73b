"""Messages about devices whose fields depend on each other."""

import json

import pytest

from shared.messages.base import MessageError
from shared.messages.bounds import MAX_ROW_POINTS
from shared.messages.devices import BlockRowTimes, Profile

MODEL = "a" * 64


def profile(**fields: object) -> bytes:
    return json.dumps({"device": "pi", "model": MODEL, "block_ms": [1.0, 2.0], **fields}).encode()


def test_a_profile_of_an_older_executor_has_no_times_by_rows() -> None:
    assert Profile.decode(profile()).row_times is None
    assert Profile.decode(profile(row_times=[])).row_times == ()


@pytest.mark.parametrize(
    "points",
    [
        [],
        [[0, 1.0]],
        [[2, 1.0], [1, 2.0]],
        [[2, 1.0], [2, 2.0]],
        [[1, -1.0]],
        [[1, float("inf")]],
        [[1, float("nan")]],
        [[1]],
        [[1, 1.0, 2.0]],
        [[2**60, 1.0]],
        [[rows, 1.0] for rows in range(1, MAX_ROW_POINTS + 2)],
    ],
)
def test_times_by_rows_that_make_no_table_are_refused(points: list[list[float]]) -> None:
    with pytest.raises(MessageError):
        Profile.decode(profile(row_times=[{"block": 1, "points": points}]))


def test_times_by_rows_are_kept() -> None:
    found = Profile.decode(profile(row_times=[{"block": 1, "points": [[1, 0.5], [28, 1.5]]}]))
    assert found.row_times == (BlockRowTimes(block=1, points=((1, 0.5), (28, 1.5))),)
