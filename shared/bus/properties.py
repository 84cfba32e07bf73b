"""The MQTT 5 properties of a message: correlation data, response topic, content type, user properties."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties

_NO_USER_PROPERTIES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Properties:
    """The MQTT 5 properties of a message that Segue uses.

    Attributes:
        correlation_data: identifies the request that a response belongs to.
        response_topic: where the response is expected; a whole topic, with root.
        content_type: media type of the payload.
        user: user properties, such as `traceparent`. Of a name that occurs twice the last value counts.
        expiry_s: message expiry interval. The broker subtracts the time for which it held the message.
    """

    correlation_data: bytes | None = None
    response_topic: str | None = None
    content_type: str | None = None
    user: Mapping[str, str] = field(default_factory=lambda: _NO_USER_PROPERTIES)
    expiry_s: int | None = None


NO_PROPERTIES = Properties()


def to_paho(properties: Properties | None) -> PahoProperties | None:
    """Return the properties in paho's form for a PUBLISH packet; None if there are none."""
    # Making an empty Properties object of paho costs more than encoding the rest of a small packet.
    if properties is None or properties == NO_PROPERTIES:
        return None
    paho = PahoProperties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if properties.correlation_data is not None:
        paho.CorrelationData = properties.correlation_data
    if properties.response_topic is not None:
        paho.ResponseTopic = properties.response_topic
    if properties.content_type is not None:
        paho.ContentType = properties.content_type
    if properties.expiry_s is not None:
        paho.MessageExpiryInterval = properties.expiry_s
    if properties.user:
        paho.UserProperty = list(properties.user.items())
    return paho


def from_paho(paho: PahoProperties | None) -> Properties:
    """Return the properties of a received PUBLISH packet."""
    if paho is None or paho.isEmpty():  # type: ignore[no-untyped-call]
        return NO_PROPERTIES
    return Properties(
        correlation_data=getattr(paho, "CorrelationData", None),
        response_topic=getattr(paho, "ResponseTopic", None),
        content_type=getattr(paho, "ContentType", None),
        expiry_s=getattr(paho, "MessageExpiryInterval", None),
        user=MappingProxyType(dict(getattr(paho, "UserProperty", ()))),
    )
