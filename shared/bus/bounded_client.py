"""A paho client that does not keep the payload of a message beyond a bound.

MQTT 5 has the Maximum Packet Size for this, but a broker drops a larger message and tells nobody. Its sender could
never be answered. So the payload is read from the socket and thrown away, and the message is delivered without it.

This uses three of paho's private names: `_in_packet`, `_sock_recv` and `_packet_handle`. paho has no public ones.
"""

from collections.abc import Callable
from typing import Any, Final

from paho.mqtt.client import Client as PahoClient
from paho.mqtt.enums import MQTTErrorCode

_PUBLISH: Final = 0x30
_PACKET_TYPE: Final = 0xF0
_QOS: Final = 0x06
# Smaller packets are never bounded, so that the bound is computed for large ones only.
_ALWAYS_KEPT_BYTES: Final = 1024 * 1024
# paho would ask for a whole packet, and Python allocates what is asked for.
_READ_BYTES: Final = 256 * 1024


class BoundedClient(PahoClient):
    """A client whose messages have a bounded payload.

    Attributes:
        skipped_bytes: size of the payload of the message that is being delivered, if it was thrown away; else 0.
    """

    def __init__(self, *args: Any, max_payload_bytes: Callable[[], int] | None = None, **options: Any) -> None:
        """Make a client.

        Args:
            args: of paho's client.
            max_payload_bytes: called at the beginning of every large packet; None for no bound.
            options: of paho's client.
        """
        super().__init__(*args, **options)
        self.skipped_bytes = 0
        self._max_payload_bytes = max_payload_bytes
        # Bytes of the present packet that are kept; None before its size is known.
        self._kept_bytes: int | None = None

    def _sock_recv(self, bufsize: int) -> bytes:
        data = super()._sock_recv(min(bufsize, _READ_BYTES))
        packet = self._in_packet
        if not packet["have_remaining"] or packet["remaining_length"] <= _ALWAYS_KEPT_BYTES:
            return data
        if self._kept_bytes is None:
            self._kept_bytes = self._bound(packet["command"], packet["remaining_length"])
        if len(packet["packet"]) < self._kept_bytes or len(data) < 2:
            return data
        # paho subtracts the length of what is returned, and keeps it: one byte stands for all.
        packet["to_process"] -= len(data) - 1
        return data[:1]

    def _bound(self, command: int, size_bytes: int) -> int:
        if self._max_payload_bytes is None or command & _PACKET_TYPE != _PUBLISH:
            return size_bytes
        # The payload is smaller than the packet by topic and properties, which are small beside any bound.
        return size_bytes if size_bytes <= self._max_payload_bytes() + _ALWAYS_KEPT_BYTES else _ALWAYS_KEPT_BYTES

    def _packet_handle(self) -> MQTTErrorCode:
        packet, kept = self._in_packet, self._kept_bytes
        self._kept_bytes = None
        if kept is not None and kept < packet["remaining_length"]:
            head = _head(packet["packet"], has_id=bool(packet["command"] & _QOS))
            self.skipped_bytes = packet["remaining_length"] - len(head)
            packet["packet"] = head
        try:
            return super()._packet_handle()
        finally:
            self.skipped_bytes = 0


def _head(packet: bytearray, *, has_id: bool) -> bytearray:
    """Return topic, packet identifier and properties of a PUBLISH packet (MQTT 5.0, 3.3.2).

    Properties that are not all there are left out.
    """
    position = 2 + int.from_bytes(packet[:2], "big") + (2 if has_id else 0)
    size = shift = 0
    stop = position
    while True:
        byte = packet[stop]
        size |= (byte & 0x7F) << shift
        shift, stop = shift + 7, stop + 1
        if not byte & 0x80:
            break
    if stop + size > _ALWAYS_KEPT_BYTES:
        return packet[:position] + b"\0"
    return packet[: stop + size]
