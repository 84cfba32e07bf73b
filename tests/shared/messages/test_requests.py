"""Ids of requests: given by the application in one of two ways, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messages.requests import Confirmation, given_request_id


@pytest.mark.parametrize(
    ("user", "correlation", "expected"),
    [
        ({"request_id": "r:1"}, b"other", "r:1"),
        ({"request_id": "not an id"}, b"c1", "c1"),
        ({}, b"abc\n", "6162630a"),
        ({}, b"\x00\xff", "00ff"),
        ({}, b"", None),
        ({"request_id": ""}, None, None),
    ],
)
def test_the_property_counts_then_the_correlation(
    user: dict[str, str], correlation: bytes | None, expected: str | None
) -> None:
    assert given_request_id(user, correlation) == expected


@given(st.text(max_size=200), st.binary(max_size=200))
def test_whatever_is_given_becomes_an_id_that_messages_take(property_: str, correlation: bytes) -> None:
    found = given_request_id({"request_id": property_}, correlation)
    if correlation:
        assert found is not None
    if found is not None:
        assert Confirmation(collector="c", request_ids=(found,)).request_ids == (found,)
