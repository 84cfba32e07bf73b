"""PUBLISH packets (MQTT 5.0, 3.3), encoded and decoded without their payload.

The library `mqtt5` reads and writes all other packets. It copies payloads, which costs as much as sending them. It also
ends the process on a text that is not UTF-8, and PUBLISH is the packet whose texts other clients choose.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from shared.bus.errors import DecodeError
from shared.bus.frame import Buffer
from shared.bus.mqtt.properties import NO_PROPERTIES, Properties

PUBLISH: Final = 0x30
_RETAIN: Final = 0x01
# First bit of the quality of service in the first byte.
_QOS_SHIFT: Final = 1
_QOS_MASK: Final = 0x03
# Identifiers of the properties of PUBLISH (MQTT 5.0, 2.2.2.2).
_EXPIRY: Final = 0x02
_CONTENT_TYPE: Final = 0x03
_RESPONSE_TOPIC: Final = 0x08
_CORRELATION_DATA: Final = 0x09
_SUBSCRIPTION_ID: Final = 0x0B
_USER_PROPERTY: Final = 0x26
# Properties that Segue does not use, with their sizes in bytes: payload format indicator, topic alias.
_UNUSED: Final[Mapping[int, int]] = MappingProxyType({0x01: 1, 0x23: 2})
_LARGEST_REMAINING_LENGTH: Final = 268_435_455

Payload = Buffer | str | Sequence[Buffer]


@dataclass(frozen=True, slots=True)
class PublishHead:
    """What a PUBLISH packet says before its payload.

    Attributes:
        topic: with root.
        properties: those that Segue uses.
        packet_id: 1 to 65535; None for QoS 0.
        retain: the broker had retained the message, or shall retain it.
    """

    topic: str
    properties: Properties
    packet_id: int | None
    retain: bool


def encode_head(head: PublishHead, payload_bytes: int) -> bytes:
    """Return the packet up to its payload.

    Args:
        head: QoS is 1 with a packet id, else 0.
        payload_bytes: size of the payload that follows.

    Raises:
        ValueError: the topic is empty or has a wildcard, a text is longer than 65,535 bytes, or the packet is larger
            than MQTT allows. The broker would end the connection.
    """
    if not head.topic or any(character in head.topic for character in "+#\0"):
        raise ValueError(f"{head.topic!r} is no topic to publish on")
    properties = _encoded_properties(head.properties)
    identifier = b"" if head.packet_id is None else head.packet_id.to_bytes(2, "big")
    body = b"".join((_text(head.topic), identifier, encode_length(len(properties)), properties))
    first = PUBLISH | (_RETAIN if head.retain else 0) | (0 if head.packet_id is None else 1 << _QOS_SHIFT)
    return b"".join((bytes((first,)), encode_length(len(body) + payload_bytes), body))


def overhead_bytes(topic: str, properties: Properties | None) -> int:
    """Return the bytes that a PUBLISH packet of QoS 1 has beside its payload, at most.

    Args:
        topic: with root.
        properties: of the message.
    """
    # A remaining length of four bytes instead of the shorter one of an empty packet.
    return len(encode_head(PublishHead(topic, properties or NO_PROPERTIES, 1, False), 0)) + 3


def payload_pieces(payload: Payload) -> Sequence[Buffer]:
    """Return a payload in pieces that are sent one behind another; text is encoded as UTF-8."""
    if isinstance(payload, str):
        return (payload.encode(),)
    return (payload,) if isinstance(payload, bytes | bytearray | memoryview) else payload


def quality_of_service(first: int) -> int:
    """Return the quality of service of a packet with this first byte: 0, 1 or 2; 3 is malformed."""
    return first >> _QOS_SHIFT & _QOS_MASK


def head_size_bytes(body: memoryview, has_id: bool) -> int | None:
    """Return the size of topic, packet identifier and properties; None if `body` ends before that is known.

    Args:
        body: the beginning of the packet behind its fixed header.
        has_id: the quality of service is not 0.

    Raises:
        DecodeError: the length of the properties is malformed.
    """
    if len(body) < 2:
        return None
    position = 2 + int.from_bytes(body[:2], "big") + (2 if has_id else 0)
    length = decode_length(body, position)
    return None if length is None else length[1] + length[0]


def packet_id_of(body: memoryview) -> int | None:
    """Return the packet identifier of a PUBLISH packet of QoS 1; None if `body` ends before it."""
    position = 2 + int.from_bytes(body[:2], "big")
    return int.from_bytes(body[position : position + 2], "big") if len(body) >= position + 2 else None


def decode_head(head: bytes, first: int) -> PublishHead:
    """Decode topic, packet identifier and properties.

    Args:
        head: exactly these, `head_size_bytes` of them.
        first: first byte of the packet.

    Raises:
        DecodeError: a text is not UTF-8, the topic is empty, or a property is unknown or cut off.
    """
    topic, position = _read_text(head, 0)
    if not topic:
        raise DecodeError("a message without a topic")
    packet_id = None
    if quality_of_service(first):
        packet_id = int.from_bytes(head[position : position + 2], "big")
        position += 2
    length = decode_length(head, position)
    if length is None or length[1] + length[0] != len(head):
        raise DecodeError("the properties of a message are cut off")
    properties = _decoded_properties(head, length[1]) if length[0] else NO_PROPERTIES
    return PublishHead(topic, properties, packet_id, bool(first & _RETAIN))


def encode_length(number: int) -> bytes:
    """Encode a variable byte integer (MQTT 5.0, 1.5.5).

    Raises:
        ValueError: the number is larger than 268,435,455.
    """
    if number > _LARGEST_REMAINING_LENGTH:
        raise ValueError(f"{number} bytes in one packet; MQTT allows {_LARGEST_REMAINING_LENGTH}")
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def decode_length(data: bytes | memoryview, position: int) -> tuple[int, int] | None:
    """Decode the variable byte integer at a position.

    Returns:
        The number and the position behind it; None if `data` ends within it.

    Raises:
        DecodeError: it has more than four bytes.
    """
    number = 0
    for index in range(4):
        if position + index >= len(data):
            return None
        byte = data[position + index]
        number |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return number, position + index + 1
    raise DecodeError("a length of more than four bytes")


def _encoded_properties(properties: Properties) -> bytes:
    if properties is NO_PROPERTIES:
        return b""
    pieces: list[bytes] = []
    if properties.expiry_s is not None:
        pieces.append(bytes((_EXPIRY,)) + properties.expiry_s.to_bytes(4, "big"))
    if properties.content_type is not None:
        pieces.append(bytes((_CONTENT_TYPE,)) + _text(properties.content_type))
    if properties.response_topic is not None:
        pieces.append(bytes((_RESPONSE_TOPIC,)) + _text(properties.response_topic))
    if properties.correlation_data is not None:
        pieces.append(bytes((_CORRELATION_DATA,)) + _binary(properties.correlation_data))
    for name, value in properties.user.items():
        pieces.append(bytes((_USER_PROPERTY,)) + _text(name) + _text(value))
    return b"".join(pieces)


def _decoded_properties(data: bytes, position: int) -> Properties:
    expiry_s: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    user: dict[str, str] = {}
    while position < len(data):
        identifier = data[position]
        position += 1
        if identifier == _USER_PROPERTY:
            name, position = _read_text(data, position)
            user[name], position = _read_text(data, position)
        elif identifier == _CORRELATION_DATA:
            correlation_data, position = _read_binary(data, position)
        elif identifier == _RESPONSE_TOPIC:
            response_topic, position = _read_text(data, position)
        elif identifier == _CONTENT_TYPE:
            content_type, position = _read_text(data, position)
        elif identifier == _EXPIRY:
            expiry_s, position = int.from_bytes(data[position : position + 4], "big"), position + 4
        elif identifier == _SUBSCRIPTION_ID:
            number = decode_length(data, position)
            position = len(data) + 1 if number is None else number[1]
        elif identifier in _UNUSED:
            position += _UNUSED[identifier]
        else:
            raise DecodeError(f"unknown property {identifier:#04x} of a message")
    if position > len(data):
        raise DecodeError("the properties of a message are cut off")
    return Properties(correlation_data, response_topic, content_type, MappingProxyType(user), expiry_s)


def _text(text: str) -> bytes:
    return _binary(text.encode())


def _binary(data: bytes) -> bytes:
    if len(data) > 0xFFFF:
        raise ValueError(f"{len(data)} bytes in a field of a packet; MQTT allows 65535")
    return len(data).to_bytes(2, "big") + data


def _read_binary(data: bytes, position: int) -> tuple[bytes, int]:
    start = position + 2
    stop = start + int.from_bytes(data[position:start], "big")
    if stop > len(data):
        raise DecodeError("a field of a message is cut off")
    return data[start:stop], stop


def _read_text(data: bytes, position: int) -> tuple[str, int]:
    raw, stop = _read_binary(data, position)
    try:
        return raw.decode(), stop
    except UnicodeDecodeError:
        raise DecodeError("a text of a message is not UTF-8") from None
