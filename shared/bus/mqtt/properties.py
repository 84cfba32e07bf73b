"""The MQTT 5 properties of a message: correlation data, response topic, content type, user properties."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

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
