"""Check of the packets that a client sends, before the broker's library sees them.

rumqttd 0.20 ends its router on some packets: a topic whose first character is not ASCII, and packets that only a broker
may send. All clients are then without a broker, and its process lives on. So it gets only packets that MQTT 5 allows
and that it can serve. The others are answered here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from broker.client_packet import USER_PROPERTY, ClientPacket, Incomplete, Malformed
from broker.refusals import (
    RefusalReason,
    Refused,
    old_protocol_refusal,
    refusal,
    refused_publication,
    refused_subscription,
    reject_other_protocols,
)
from broker.topic_quota import TopicQuota, wildcard

# Largest size of what is in front of a payload, and of every other packet: these are held until they are checked.
_MAX_HELD_BYTES: Final = 1024 * 1024
_LONGEST_FIXED_HEADER: Final = 5


class _Type(IntEnum):
    """Packets that a client may send (MQTT 5.0, 2.1.2). AUTH is missing: the broker has no extended authentication."""

    CONNECT = 1
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    UNSUBSCRIBE = 10
    PINGREQ = 12
    DISCONNECT = 14


# Flags that the fixed header of a packet must have (MQTT 5.0, table 2-2); those of PUBLISH vary.
_FLAGS: Final = {_Type.PUBREL: 2, _Type.SUBSCRIBE: 2, _Type.UNSUBSCRIBE: 2}
_CONNECT_PROPERTIES: Final = frozenset({0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x27, USER_PROPERTY})
_WILL_PROPERTIES: Final = frozenset({0x01, 0x02, 0x03, 0x08, 0x09, 0x18, USER_PROPERTY})
_PUBLISH_PROPERTIES: Final = frozenset({0x01, 0x02, 0x03, 0x08, 0x09, 0x23, USER_PROPERTY})
_SUBSCRIBE_PROPERTIES: Final = frozenset({0x0B, USER_PROPERTY})
_UNSUBSCRIBE_PROPERTIES: Final = frozenset({USER_PROPERTY})
_ANSWER_PROPERTIES: Final = frozenset({0x1F, USER_PROPERTY})
_DISCONNECT_PROPERTIES: Final = frozenset({0x11, 0x1F, USER_PROPERTY})
_RESPONSE_TOPIC: Final = 0x08
_TOPIC_ALIAS: Final = 0x23
_WILL: Final = 0x04
_WILL_QOS: Final = 0x18
_WILL_RETAIN: Final = 0x20
_PASSWORD: Final = 0x40
_USER_NAME: Final = 0x80


@dataclass(frozen=True, slots=True)
class Passed:
    """What to do with the bytes of a client.

    Attributes:
        forward: for the broker.
        answer: for the client, instead of packets that were left out.
        notes: for people: what was left out, and why.
    """

    forward: bytes
    answer: bytes = b""
    notes: tuple[str, ...] = ()


class _Unserved(Exception):
    """A packet that MQTT allows and this broker does not serve. Its sender stays connected."""

    def __init__(self, reason: str, answer: bytes) -> None:
        self.answer = answer
        super().__init__(reason)


@dataclass(slots=True)
class PacketFilter:
    """Checks the packets of one client. Payloads are passed on as they come, everything else as whole packets.

    Attributes:
        max_packet_bytes: largest packet.
        quota: of the topics of all clients.
    """

    max_packet_bytes: int
    quota: TopicQuota
    _held: bytearray = field(default_factory=bytearray, init=False)
    _needed_bytes: int = field(default=0, init=False)
    _payload_left: int = field(default=0, init=False)
    _is_payload_passed: bool = field(default=True, init=False)
    is_connected: bool = field(default=False, init=False)
    _has_ended: bool = field(default=False, init=False)
    _aliases: set[int] = field(default_factory=set, init=False)

    def feed(self, data: bytes | bytearray | memoryview) -> Passed:
        """Check the next bytes of the client.

        Raises:
            Refused: they are no packets that a client may send. `forward` of earlier packets of the same bytes is lost.
        """
        if self._held:
            self._held += data
            if len(self._held) < self._needed_bytes:
                return Passed(b"")
            data, self._held = self._held, bytearray()
        view = memoryview(data)
        pieces: list[memoryview] = []
        answers: list[bytes] = []
        notes: list[str] = []
        position = start = 0
        while position < len(view):
            if self._payload_left:
                size = min(self._payload_left, len(view) - position)
                self._payload_left -= size
                position += size
                if not self._is_payload_passed:
                    start = position
                continue
            try:
                checked = self._checked(view, position)
            except Incomplete as incomplete:
                self._needed_bytes = incomplete.position - position
                if self._needed_bytes > _MAX_HELD_BYTES:
                    raise self._refusal(RefusalReason.PACKET_TOO_LARGE, "a packet whose header is too large") from None
                self._held = bytearray(view[position:])
                break
            except Malformed as error:
                raise self._refusal(RefusalReason.MALFORMED, str(error)) from None
            after, unserved = checked
            if unserved is not None:
                pieces.append(view[start:position])
                start = after
                answers.append(unserved.answer)
                notes.append(str(unserved))
            position = after
        pieces.append(view[start : min(position, len(view))])
        return Passed(b"".join(pieces), b"".join(answers), tuple(notes))

    def _checked(self, view: memoryview, position: int) -> tuple[int, _Unserved | None]:
        """Check the packet at `position`; return where its checked part ends, and if it is left out, why."""
        if not self.is_connected:
            reject_other_protocols(bytes(view[position : position + 4]))
        first = view[position]
        header = ClientPacket(view, position + 1, position + _LONGEST_FIXED_HEADER)
        length = header.variable()
        end = header.position + length
        try:
            kind = _Type(first >> 4)
        except ValueError:
            raise Malformed(f"a packet of type {first >> 4}, which clients do not send") from None
        if end - position > self.max_packet_bytes:
            raise self._refusal(RefusalReason.PACKET_TOO_LARGE, f"a packet of {end - position} bytes")
        if (kind is _Type.CONNECT) == self.is_connected or self._has_ended:
            raise self._refusal(RefusalReason.PROTOCOL_ERROR, f"{kind.name} at the wrong time")
        if kind is not _Type.PUBLISH:
            if first & 0x0F != _FLAGS.get(kind, 0):
                raise Malformed(f"{kind.name} with flags {first & 0x0F}")
            if length > _MAX_HELD_BYTES:
                raise self._refusal(RefusalReason.PACKET_TOO_LARGE, f"{kind.name} of {length} bytes")
            if end > len(view):
                raise Incomplete(end)
        reader = ClientPacket(view, header.position, end)
        try:
            self._check(kind, reader, first & 0x0F)
        except _Unserved as unserved:
            self._expect_payload(reader.left if kind is _Type.PUBLISH else 0, is_passed=False)
            return (reader.position if kind is _Type.PUBLISH else end), unserved
        if kind is _Type.PUBLISH:
            self._expect_payload(reader.left, is_passed=True)
        elif reader.left:
            raise Malformed(f"{kind.name} with {reader.left} bytes too many")
        return reader.position, None

    def _expect_payload(self, size_bytes: int, *, is_passed: bool) -> None:
        self._payload_left, self._is_payload_passed = size_bytes, is_passed

    def _check(self, kind: _Type, reader: ClientPacket, flags: int) -> None:
        match kind:
            case _Type.CONNECT:
                self._check_connect(reader)
            case _Type.PUBLISH:
                self._check_publish(reader, flags)
            case _Type.SUBSCRIBE:
                self._check_subscribe(reader)
            case _Type.UNSUBSCRIBE:
                _packet_id(reader)
                reader.properties(_UNSUBSCRIBE_PROPERTIES)
                _repeat(reader, reader.text, "UNSUBSCRIBE without a topic filter")
            case _Type.PUBACK | _Type.PUBREC | _Type.PUBREL | _Type.PUBCOMP:
                _packet_id(reader)
                _reason_and_properties(reader, _ANSWER_PROPERTIES)
            case _Type.DISCONNECT:
                self._has_ended = True
                _reason_and_properties(reader, _DISCONNECT_PROPERTIES)
            case _Type.PINGREQ:
                return

    def _check_connect(self, reader: ClientPacket) -> None:
        name, level = reader.binary(), reader.number(1)
        if name in (b"MQTT", b"MQIsdp") and level in (3, 4):
            raise old_protocol_refusal()
        if name != b"MQTT" or level != 5:
            raise self._refusal(RefusalReason.UNSUPPORTED_VERSION, f"protocol {name[:16]!r} of level {level}")
        flags = reader.number(1)
        has_will = bool(flags & _WILL)
        if flags & 1 or flags & _WILL_QOS == _WILL_QOS or (not has_will and flags & (_WILL_QOS | _WILL_RETAIN)):
            raise Malformed(f"connect flags {flags:#x}")
        reader.number(2)
        properties = reader.properties(_CONNECT_PROPERTIES)
        if 0x15 in properties or 0x16 in properties:
            raise self._refusal(
                RefusalReason.PROTOCOL_ERROR, "extended authentication, which this broker does not have"
            )
        if properties.get(0x21) == 0 or properties.get(0x27) == 0:
            raise self._refusal(RefusalReason.PROTOCOL_ERROR, "a receive maximum or a maximum packet size of 0")
        reader.text()
        if has_will:
            response_topic = reader.properties(_WILL_PROPERTIES).get(_RESPONSE_TOPIC)
            reason = self.quota.topic_fault(reader.text()) or (response_topic is not None and wildcard(response_topic))
            if reason:
                raise self._refusal(RefusalReason.TOPIC_INVALID, f"a will with {reason}")
            reader.binary()
        if flags & _USER_NAME:
            reader.text()
        if flags & _PASSWORD:
            reader.binary()
        self.is_connected = True

    def _check_publish(self, reader: ClientPacket, flags: int) -> None:
        qos = flags >> 1 & 3
        if qos == 3 or (flags & 8 and not qos):
            raise Malformed(f"PUBLISH with flags {flags}")
        topic = reader.text()
        packet_id = _packet_id(reader) if qos else 0
        properties = reader.properties(_PUBLISH_PROPERTIES)
        alias = properties.get(_TOPIC_ALIAS)
        if alias == 0 or (not topic and alias not in self._aliases):
            raise self._refusal(RefusalReason.PROTOCOL_ERROR, "a topic alias that stands for no topic")
        if wildcard(topic) or wildcard(properties.get(_RESPONSE_TOPIC, "")):
            raise self._refusal(RefusalReason.TOPIC_INVALID, "a wildcard in a topic")
        reason = topic and self.quota.topic_fault(topic)
        if reason:
            raise _Unserved(f"a message with {reason}", refused_publication(qos, packet_id))
        if isinstance(alias, int):
            self._aliases.add(alias)

    def _check_subscribe(self, reader: ClientPacket) -> None:
        packet_id = _packet_id(reader)
        if reader.properties(_SUBSCRIBE_PROPERTIES).get(0x0B) == 0:
            raise self._refusal(RefusalReason.PROTOCOL_ERROR, "subscription identifier 0")
        faults: list[str] = []

        def one() -> None:
            topic_filter, options = reader.text(), reader.number(1)
            if options & 3 == 3 or options >> 4 & 3 == 3 or options & 0xC0:
                raise Malformed(f"subscription options {options:#x}")
            faults.append(self.quota.filter_fault(topic_filter, options & 3))

        _repeat(reader, one, "SUBSCRIBE without a topic filter")
        if any(faults):
            answer = refused_subscription(packet_id, len(faults))
            raise _Unserved(f"a subscription with {next(filter(None, faults))}", answer)

    def _refusal(self, reason: RefusalReason, text: str) -> Refused:
        return refusal(reason, text, is_connected=self.is_connected)


def _packet_id(reader: ClientPacket) -> int:
    packet_id = reader.number(2)
    if not packet_id:
        raise Malformed("packet identifier 0")
    return packet_id


def _reason_and_properties(reader: ClientPacket, allowed: frozenset[int]) -> None:
    """Read the reason code and the properties, which a packet may leave out (MQTT 5.0, 3.4.2)."""
    if reader.left:
        reader.number(1)
    if reader.left:
        reader.properties(allowed)


def _repeat(reader: ClientPacket, read: Callable[[], object], fault: str) -> None:
    if not reader.left:
        raise Malformed(fault)
    while reader.left:
        read()
