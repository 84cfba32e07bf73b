"""Refusals of the embedded broker: their reasons, and the packets that tell a client."""

from enum import IntEnum
from typing import Final


class RefusalReason(IntEnum):
    """RefusalReason codes of refusals (MQTT 5.0, 2.4)."""

    MALFORMED = 0x81
    PROTOCOL_ERROR = 0x82
    UNSUPPORTED_VERSION = 0x84
    FILTER_INVALID = 0x8F
    TOPIC_INVALID = 0x90
    PACKET_TOO_LARGE = 0x95


_OLD_PROTOCOL = (
    "speaks MQTT 3.1.1; the embedded broker serves MQTT 5 only. Use MQTT 5 (mosquitto_pub -V 5), or run mosquitto "
    "(docs/operators.md), which serves both"
)
_WEBSOCKET = (
    "speaks HTTP, as WebSocket clients do; the embedded broker serves MQTT 5 over TCP only. Run mosquitto with a "
    "listener of `protocol websockets` (docs/operators.md)"
)
_TLS = "speaks TLS, and this broker was started without a certificate: use mqtt://, or start it with --tls-cert"
_WEBSOCKET_ANSWER: Final = (
    b"HTTP/1.1 426 Upgrade Required\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"The embedded broker serves MQTT 5 over TCP only. Run mosquitto for WebSockets.\n"
)


class Refused(Exception):
    """The connection is to be closed.

    Attributes:
        reason: for people.
        farewell: bytes for the client before its connection is closed.
    """

    def __init__(self, reason: str, farewell: bytes) -> None:
        self.reason = reason
        self.farewell = farewell
        super().__init__(reason)


def refusal(reason: RefusalReason, text: str, *, is_connected: bool) -> Refused:
    """Return the refusal of a packet, with DISCONNECT, or CONNACK for a client that is not connected yet.

    Args:
        reason: for the client.
        text: what it sent.
        is_connected: its CONNECT was accepted.
    """
    if not is_connected:
        # CONNACK without session and properties.
        return Refused(f"sent {text}", _packet(0x20, bytes([0, reason, 0])))
    return Refused(f"sent {text}", _packet(0xE0, bytes([reason, 0])))


def old_protocol_refusal() -> Refused:
    """Return the refusal of a CONNECT of MQTT 3, with its CONNACK: unacceptable protocol version (3.1.1, 3.2.2.3)."""
    return Refused(_OLD_PROTOCOL, b"\x20\x02\x00\x01")


def reject_other_protocols(begin: bytes) -> None:
    """Check the first four bytes of a client.

    Raises:
        Refused: they begin TLS or HTTP.
    """
    if begin[:3] == b"\x16\x03\x01" or begin[:3] == b"\x16\x03\x03":
        raise Refused(_TLS, b"")
    if begin in (b"GET ", b"POST", b"HEAD"):
        raise Refused(_WEBSOCKET, _WEBSOCKET_ANSWER)


def refused_publication(qos: int, packet_id: int) -> bytes:
    """Return the answer to a message whose topic is not served: PUBACK or PUBREC; empty for QoS 0."""
    if not qos:
        return b""
    return _packet(0x40 if qos == 1 else 0x50, packet_id.to_bytes(2, "big") + bytes([RefusalReason.TOPIC_INVALID, 0]))


def refused_subscription(packet_id: int, filters: int) -> bytes:
    """Return the SUBACK that refuses every one of a number of topic filters."""
    return _packet(0x90, packet_id.to_bytes(2, "big") + b"\0" + bytes([RefusalReason.FILTER_INVALID]) * filters)


def _packet(first: int, body: bytes) -> bytes:
    length, size = b"", len(body)
    while True:
        size, digit = divmod(size, 128)
        length += bytes([digit | (0x80 if size else 0)])
        if not size:
            return bytes([first]) + length + body
