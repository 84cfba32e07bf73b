"""Sends messages through the broker in chunks, of a size that the broker accepts."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from shared.bus.chunks import CHUNK_BYTES, MAX_CHUNKS, chunk_overhead_bytes, split_message
from shared.bus.connection import Connection
from shared.bus.errors import MessageTooLarge
from shared.bus.frame import Buffer, frame_size_bytes
from shared.bus.mqtt.properties import Properties

# Waits until this number of bytes of the message may have been sent. Called before each chunk with the offset of its
# end.
Pace = Callable[[int], Awaitable[None]]

# Unconfirmed chunks per direction: enough to hide the round trip to the broker, and a bound on its memory.
UNCONFIRMED_CHUNKS: Final = 4
_ID_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class ChunkSender:
    """Sends messages in chunks of QoS 1, of which at most four are unconfirmed at a time.

    Attributes:
        connection: carries the chunks. With one of their own they do not delay control messages.
        sender: name in the chunks, possibly empty.
        chunk_bytes: size of the slice in a chunk. Smaller where the broker accepts only smaller packets.
        timeout_s: bound on the confirmation of one chunk, waits for a reconnect included.
    """

    connection: Connection
    sender: str
    chunk_bytes: int = CHUNK_BYTES
    timeout_s: float = 30.0

    async def send(
        self,
        topic: str,
        buffers: Sequence[Buffer],
        *,
        transfer_id: bytes | None = None,
        pace: Pace | None = None,
        properties: Properties | None = None,
    ) -> None:
        """Send one message.

        Args:
            topic: below the root.
            buffers: the message in pieces. They must not change until this returns.
            transfer_id: None for a random one.
            pace: delays each chunk until it may be sent.
            properties: of every chunk.

        Raises:
            PublishFailed: a chunk was not confirmed in time. The receiver drops the others when the transfer expires.
            MessageTooLarge: the broker accepts only packets that are too small for a message of this size.
        """
        identity = transfer_id or secrets.token_bytes(_ID_BYTES)
        size_bytes = frame_size_bytes(buffers)
        chunk_bytes = self._granted_chunk_bytes(topic, identity, size_bytes, properties)
        chunks = split_message(identity, buffers, chunk_bytes, sender=self.sender)
        # Most frames of small models are one chunk: no task and no semaphore for them.
        if size_bytes <= chunk_bytes:
            if pace is not None:
                await pace(size_bytes)
            await self._publish(topic, next(chunks), properties)
            return
        window = asyncio.Semaphore(UNCONFIRMED_CHUNKS)
        try:
            async with asyncio.TaskGroup() as group:
                stop = 0
                for chunk in chunks:
                    stop = min(stop + chunk_bytes, size_bytes)
                    # Before the pace, which is computed only for a chunk that can be sent now.
                    await window.acquire()
                    if pace is not None:
                        await pace(stop)
                    group.create_task(self._publish(topic, chunk, properties, window), name=f"chunk to {topic}")
        except ExceptionGroup as failures:
            # One chunk that fails cancels the others: without it the message is worthless.
            raise failures.exceptions[0] from None

    def send_now(self, topic: str, buffers: Sequence[Buffer], size_bytes: int) -> bool:
        """Send a message in a single chunk of QoS 0; return False if it is larger, or cannot be sent at once."""
        if size_bytes > self.chunk_bytes:
            return False
        identity = secrets.token_bytes(_ID_BYTES)
        chunk = next(split_message(identity, buffers, self.chunk_bytes, sender=self.sender))
        return self.connection.publish_now(topic, chunk)

    def _granted_chunk_bytes(
        self, topic: str, transfer_id: bytes, size_bytes: int, properties: Properties | None
    ) -> int:
        """Return the size of a slice that the broker accepts now.

        Raises:
            MessageTooLarge: the broker accepts only packets that are too small for a message of this size.
        """
        limit_bytes = self.connection.payload_limit_bytes(topic, properties)
        granted_bytes = min(self.chunk_bytes, limit_bytes - chunk_overhead_bytes(transfer_id, self.sender))
        if granted_bytes < self.chunk_bytes and size_bytes > granted_bytes * MAX_CHUNKS:
            raise MessageTooLarge(
                topic, f"{size_bytes} bytes, the broker accepts at most {MAX_CHUNKS} chunks of {max(0, granted_bytes)}"
            )
        return granted_bytes

    async def _publish(
        self,
        topic: str,
        chunk: Sequence[Buffer],
        properties: Properties | None,
        window: asyncio.Semaphore | None = None,
    ) -> None:
        try:
            await self.connection.publish(topic, chunk, qos=1, properties=properties, timeout_s=self.timeout_s)
        finally:
            if window is not None:
                window.release()
