"""Refusals: the bytes that a client gets before its connection is closed, and answers to what is left out."""

import pytest

from broker.refusals import (
    RefusalReason,
    Refused,
    refusal,
    refused_publication,
    refused_subscription,
    reject_other_protocols,
)


def test_a_refusal_is_connack_before_the_connection_and_disconnect_after() -> None:
    early = refusal(RefusalReason.PROTOCOL_ERROR, "nonsense", is_connected=False)
    late = refusal(RefusalReason.PROTOCOL_ERROR, "nonsense", is_connected=True)
    assert (early.reason, early.farewell) == ("sent nonsense", b"\x20\x03\x00\x82\x00")
    assert (late.reason, late.farewell) == ("sent nonsense", b"\xe0\x02\x82\x00")


@pytest.mark.parametrize(
    ("begin", "advice"),
    [
        (b"\x16\x03\x01\x02", "--tls-cert"),
        (b"\x16\x03\x03\x02", "--tls-cert"),
        (b"GET ", "mosquitto"),
        (b"POST", "mosq"),
    ],
)
def test_other_protocols_are_named(begin: bytes, advice: str) -> None:
    with pytest.raises(Refused, match=advice):
        reject_other_protocols(begin)


@pytest.mark.parametrize("begin", [b"", b"\x10", b"\x10\x16\x03\x01", b"GET"])
def test_everything_else_is_read_on(begin: bytes) -> None:
    reject_other_protocols(begin)


def test_a_message_of_each_quality_of_service_gets_its_answer() -> None:
    answers = [refused_publication(qos, 7) for qos in range(3)]
    assert answers == [b"", b"\x40\x04\x00\x07\x90\x00", b"\x50\x04\x00\x07\x90\x00"]


def test_a_suback_of_many_filters_has_a_length_of_two_bytes() -> None:
    assert refused_subscription(9, 200) == b"\x90\xcb\x01\x00\x09\x00" + b"\x8f" * 200
