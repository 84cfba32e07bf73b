"""MQTT 5 properties, there and back through a PUBLISH packet."""

import pytest

from shared.bus.mqtt.properties import NO_PROPERTIES, Properties
from shared.bus.mqtt.publish_packet import PUBLISH, PublishHead, decode_head, decode_length, encode_head


def decoded(packet: bytes) -> PublishHead:
    length = decode_length(packet, 1)
    assert length is not None
    return decode_head(packet[length[1] :], packet[0])


@pytest.mark.parametrize(
    "properties",
    [
        NO_PROPERTIES,
        Properties(correlation_data=b"\x00"),
        Properties(response_topic="a/b"),
        Properties(content_type="image/png"),
        Properties(user={"a": "1", "b": "ü"}),
        Properties(expiry_s=7),
        Properties(b"\x01", "r", "text/plain", {"a": "1"}, 2**32 - 1),
    ],
)
@pytest.mark.parametrize("packet_id", [None, 1, 65_535])
def test_round_trip(properties: Properties, packet_id: int | None) -> None:
    head = PublishHead("a/b", properties, packet_id, retain=True)
    assert decoded(encode_head(head, 0)) == head


def test_a_message_without_properties_makes_none() -> None:
    assert decoded(encode_head(PublishHead("a", NO_PROPERTIES, None, retain=False), 0)).properties is NO_PROPERTIES


def test_of_a_repeated_user_property_the_last_counts() -> None:
    packet = bytes([PUBLISH, 18, 0, 1, 97, 14, *(0x26, 0, 1, 97, 0, 1, 49), *(0x26, 0, 1, 97, 0, 1, 50)])
    assert decoded(packet).properties.user == {"a": "2"}
