"""The packets of one connection, from the bytes of its socket. A state machine without I/O.

Bytes are received into the memory that `buffer` returns. A payload above 64 kB is received where it stays.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import mqtt5

from shared.bus.errors import DecodeError
from shared.bus.mqtt.properties import Properties
from shared.bus.mqtt.publish_packet import (
    PUBLISH,
    PublishHead,
    decode_head,
    decode_length,
    head_size_bytes,
    packet_id_of,
    quality_of_service,
)

# Above it, a payload gets memory of its own before it arrives; below, it is copied out of the common memory.
_LARGE_BYTES: Final = 64 * 1024
# Holds the longest topic of 65,535 bytes with 190 kB of properties. A message with more of them is not delivered.
_SCRATCH_BYTES: Final = 256 * 1024
# Smaller payloads are always kept, so that the bound is computed for large ones only.
_ALWAYS_KEPT_BYTES: Final = 1024 * 1024
_PACKET_TYPE: Final = 0xF0


@dataclass(frozen=True, slots=True)
class IncomingPublish:
    """A message that has arrived.

    Attributes:
        topic: with root.
        payload: the bytes. Treat them as read-only.
        properties: those that Segue uses.
        packet_id: of QoS 1, to be acknowledged; None for QoS 0.
        retain: the broker had retained it before the subscription.
        skipped_bytes: size of a payload beyond the bound, which was not kept; else 0.
    """

    topic: str
    payload: bytes | memoryview
    properties: Properties
    packet_id: int | None
    retain: bool
    skipped_bytes: int = 0


@dataclass(frozen=True, slots=True)
class UnreadablePublish:
    """A message that cannot be delivered because of what its sender wrote.

    Attributes:
        packet_id: of QoS 1, to be acknowledged, or the broker would deliver it for ever; None for QoS 0.
        reason: the fault.
    """

    packet_id: int | None
    reason: str


IncomingPacket = IncomingPublish | UnreadablePublish | mqtt5.Packet


@dataclass(slots=True)
class _Payload:
    """A large payload under way.

    Attributes:
        result: returns the message once `missing_bytes` is 0.
        target: where the payload goes; None if it is thrown away.
        missing_bytes: bytes that have not arrived.
    """

    result: Callable[[], IncomingPacket]
    target: memoryview | None
    missing_bytes: int


class PacketReader:
    """Splits a stream of bytes into packets.

    Invariant. `_scratch[_start:_stop]` holds the bytes that have arrived and belong to no packet yet. While a large
    payload is under way, they are none.
    """

    def __init__(self, max_payload_bytes: Callable[[], int] | None = None) -> None:
        """Start at the beginning of a connection.

        Args:
            max_payload_bytes: called for every payload of more than 1 MiB; returns the size beyond which it is thrown
                away. None for no bound.
        """
        self._max_payload_bytes = max_payload_bytes
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._start = 0
        self._stop = 0
        self._payload: _Payload | None = None

    def buffer(self) -> memoryview:
        """Return the memory for the next bytes, never empty. It is valid until `received` is called."""
        payload = self._payload
        if payload is None:
            return self._scratch[self._stop :]
        if payload.target is None:
            return self._scratch[: payload.missing_bytes]
        return payload.target[-payload.missing_bytes :]

    def received(self, size_bytes: int) -> None:
        """Take over bytes that were written to the beginning of `buffer`."""
        if self._payload is None:
            self._stop += size_bytes
        else:
            self._payload.missing_bytes -= size_bytes

    def next_packet(self) -> IncomingPacket | None:
        """Return the next complete packet; None if more bytes are needed. Call it until then before `buffer`.

        Raises:
            DecodeError: the broker does not speak MQTT 5; the connection is of no more use.
        """
        if self._payload is not None:
            if self._payload.missing_bytes:
                return None
            finished, self._payload = self._payload, None
            return finished.result()
        packet = self._next()
        if packet is None:
            self._compact()
        return packet

    def _compact(self) -> None:
        """Move what is left to the beginning, so that the rest of its packet has room."""
        size_bytes = self._stop - self._start
        if self._start:
            self._scratch[:size_bytes] = self._scratch[self._start : self._stop]
            self._start, self._stop = 0, size_bytes

    def _next(self) -> IncomingPacket | None:
        """Return the next complete packet; None if more bytes are needed."""
        data = self._scratch[self._start : self._stop]
        length = decode_length(data, 1)
        if length is None:
            return None
        remaining_bytes, body_at = length
        body = data[body_at : body_at + remaining_bytes]
        if data[0] & _PACKET_TYPE == PUBLISH:
            return self._publication(data[0], body, body_at, remaining_bytes)
        if len(body) < remaining_bytes:
            if body_at + remaining_bytes > _SCRATCH_BYTES:
                raise DecodeError(f"the broker sent a packet of {remaining_bytes} bytes that is no message")
            return None
        self._start += body_at + remaining_bytes
        return _read(data[: body_at + remaining_bytes])

    def _publication(self, first: int, body: memoryview, body_at: int, remaining_bytes: int) -> IncomingPacket | None:
        has_id = bool(quality_of_service(first))
        if quality_of_service(first) > 1:
            raise DecodeError("the broker sent a message of a quality of service that was not asked for")
        is_whole = len(body) == remaining_bytes
        head_bytes = head_size_bytes(body, has_id)
        if not is_whole and remaining_bytes <= _LARGE_BYTES:
            return None
        if head_bytes is None or head_bytes > len(body):
            if not is_whole and body_at + len(body) < _SCRATCH_BYTES:
                return None
            unreadable = UnreadablePublish(packet_id_of(body) if has_id else None, "its properties are too long")
            return self._begin(lambda: unreadable, None, body_at, body, remaining_bytes)
        try:
            head = decode_head(bytes(body[:head_bytes]), first)
        except DecodeError as error:
            bad = UnreadablePublish(packet_id_of(body) if has_id else None, str(error))
            return self._begin(lambda: bad, None, body_at, body, remaining_bytes)
        payload_bytes = remaining_bytes - head_bytes
        if payload_bytes <= _LARGE_BYTES and body_at + remaining_bytes <= _SCRATCH_BYTES:
            if not is_whole:
                return None
            self._start += body_at + remaining_bytes
            return _message(head, bytes(body[head_bytes:]))
        if self._exceeds_bound(payload_bytes):
            return self._begin(lambda: _message(head, b"", payload_bytes), None, body_at, body, remaining_bytes)
        kept = bytearray(payload_bytes)
        message = _message(head, memoryview(kept).toreadonly())
        return self._begin(lambda: message, memoryview(kept), body_at, body, remaining_bytes, head_bytes)

    def _exceeds_bound(self, payload_bytes: int) -> bool:
        bound = self._max_payload_bytes
        return bound is not None and payload_bytes > _ALWAYS_KEPT_BYTES and payload_bytes > bound()

    def _begin(
        self,
        result: Callable[[], IncomingPacket],
        target: memoryview | None,
        body_at: int,
        body: memoryview,
        remaining_bytes: int,
        head_bytes: int = 0,
    ) -> IncomingPacket | None:
        """Consume what has arrived of a packet, and wait for the rest; return the packet if there is none."""
        self._start += body_at + len(body)
        if target is not None:
            target[: len(body) - head_bytes] = body[head_bytes:]
        missing_bytes = remaining_bytes - len(body)
        if not missing_bytes:
            return result()
        self._payload = _Payload(result, target, missing_bytes)
        return None


def _message(head: PublishHead, payload: bytes | memoryview, skipped_bytes: int = 0) -> IncomingPublish:
    return IncomingPublish(head.topic, payload, head.properties, head.packet_id, head.retain, skipped_bytes)


def _read(packet: memoryview) -> mqtt5.Packet:
    try:
        return mqtt5.read(packet)[0]
    except (ValueError, IndexError) as error:
        raise DecodeError(f"the broker sent a malformed packet: {error}") from None
    except BaseException as error:
        # The library panics on a text that is not UTF-8. Its error is no `Exception`, and has no public name.
        if type(error).__name__ != "PanicException":
            raise
        raise DecodeError("the broker sent a packet whose text is not UTF-8") from None
