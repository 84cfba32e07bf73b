"""Sends outputs that are too large for the message of their outcome, in chunks before it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.executor.results import with_transfer, without_outputs
from shared.bus.errors import MessageTooLarge, PublishForbidden
from shared.bus.feature_maps.chunk_sender import ChunkSender
from shared.bus.frame import Buffer, frame_size_bytes
from shared.bus.mqtt.properties import Properties
from shared.large_outcomes import MAX_LARGE_OUTCOME_BYTES, OUTPUT_CHUNK_CONTENT, transfer_id_of
from shared.messages.requests import Outcome


@dataclass(frozen=True, slots=True)
class OutputSender:
    """Sends the frames of large outcomes, one at a time, so that each is complete early.

    Attributes:
        chunks: sends messages in chunks.
    """

    chunks: ChunkSender
    _sending: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def send(self, topic: str, outcome: Outcome, frame: Sequence[Buffer], user: Mapping[str, str]) -> Outcome:
        """Send a frame; return the outcome to be published when the broker has all of it.

        Args:
            topic: below the root.
            outcome: the outcome; its outputs are left out of what is returned.
            frame: the outcome's frame in pieces.
            user: user properties of the chunks. The same for every transfer of an outcome, so that its chunks are too.

        Returns:
            The outcome with the transfer, or with the reason why its outputs cannot be sent at all.

        Raises:
            BusError: the frame was not sent, and may be sent later.
        """
        transfer_id, size_bytes = transfer_id_of(outcome), frame_size_bytes(frame)
        if size_bytes > MAX_LARGE_OUTCOME_BYTES:
            return without_outputs(outcome, f"{size_bytes} bytes, at most {MAX_LARGE_OUTCOME_BYTES} are sent")
        properties = Properties(content_type=OUTPUT_CHUNK_CONTENT, user=user)
        try:
            async with self._sending:
                await self.chunks.send(topic, frame, transfer_id=transfer_id, properties=properties)
        except PublishForbidden:
            root = self.chunks.connection.settings.root
            return without_outputs(outcome, f"the broker's access rules deny: write {root}/{topic}")
        except MessageTooLarge as error:
            return without_outputs(outcome, error.reason)
        return with_transfer(outcome, transfer_id, size_bytes)
