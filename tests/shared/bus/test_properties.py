"""MQTT 5 properties, there and back."""

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties

from shared.bus.properties import NO_PROPERTIES, Properties, from_paho, to_paho


def publish_properties() -> PahoProperties:
    return PahoProperties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho's properties are untyped


@pytest.mark.parametrize(
    "properties",
    [
        Properties(correlation_data=b"\x00"),
        Properties(response_topic="a/b"),
        Properties(content_type="image/png"),
        Properties(user={"a": "1", "b": "ü"}),
        Properties(b"\x01", "r", "text/plain", {"a": "1"}),
    ],
)
def test_round_trip(properties: Properties) -> None:
    paho = to_paho(properties)
    assert paho is not None
    received = publish_properties()
    received.unpack(paho.pack())  # type: ignore[no-untyped-call]  # paho's properties are untyped
    assert from_paho(received) == properties


@pytest.mark.parametrize("properties", [None, Properties(), NO_PROPERTIES])
def test_no_properties_cost_nothing(properties: Properties | None) -> None:
    assert to_paho(properties) is None


def test_no_properties_are_read_as_none_at_all() -> None:
    assert from_paho(None) is NO_PROPERTIES
    assert from_paho(publish_properties()) is NO_PROPERTIES


def test_of_a_repeated_user_property_the_last_counts() -> None:
    paho = publish_properties()
    paho.UserProperty = [("a", "1"), ("a", "2")]
    assert from_paho(paho).user == {"a": "2"}
