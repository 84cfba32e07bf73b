"""Receives feature maps of other devices, and acknowledges each to its sender."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from services.executor.feature_maps import FeatureMap, decode_feature_map
from services.executor.outbox import Outbox
from shared.bus import topics
from shared.bus.errors import DecodeError
from shared.bus.feature_maps.transport import Delivery
from shared.codecs import CodecRegistry
from shared.lane.lane_messages import is_lane_message
from shared.messages.base import MessageError
from shared.messages.devices import Receipt
from shared.processing_clock import UNREAD_S, ProcessingClock


@dataclass(frozen=True, slots=True)
class Inbox:
    """The receiving end of a transport of this device.

    Attributes:
        device: name of this device.
        transport: delivers frames.
        registry: codecs that tensors may have.
        outbox: publishes receipts.
        take_rows: takes rows of an input over that comes in parts; never waits.
        admit_now: takes a feature map over if the device's admission is not full, and returns whether it did.
        admit: takes a feature map over; waits while the device's admission is full.
        take_lane: takes a message of the lane over that the transport did not hand over at once; waits likewise, and
            raises the errors of its decoding.
        processing: clock of this device's processing time.
    """

    device: str
    transport: AsyncIterator[Delivery]
    registry: CodecRegistry
    outbox: Outbox
    take_rows: Callable[[FeatureMap], None]
    admit_now: Callable[[FeatureMap], bool]
    admit: Callable[[FeatureMap], Awaitable[None]]
    take_lane: Callable[[Delivery], Awaitable[None]]
    processing: ProcessingClock

    async def run(self) -> None:
        """Receive until cancelled; a frame that is no feature map for this device is counted and dropped."""
        async for delivery in self.transport:
            try:
                if is_lane_message(delivery.buffer):
                    await self.take_lane(delivery)
                    continue
                feature_map = self._decode(delivery)
                header = feature_map.header
                if header.comes_in_parts:
                    self.take_rows(feature_map)
            except (MessageError, DecodeError) as error:
                await self.outbox.note_bad_message(topics.inbox(self.device), str(error))
                continue
            is_admitted = header.comes_in_parts or self.admit_now(feature_map)
            # The receipt never waits for admission: its sender measures the link, not the time in the queue.
            processing_ms = self._processing_ms(delivery)
            if delivery.acknowledge is not None:
                delivery.acknowledge(header.transfer_id, processing_ms)
            elif topics.is_name(header.sender):
                receipt = Receipt(transfer_id=header.transfer_id, receiver=self.device, processing_ms=processing_ms)
                await self.outbox.publish_best_effort(topics.receipts(header.sender), receipt.encode())
            if not is_admitted:
                await self.admit(feature_map)

    def _processing_ms(self, delivery: Delivery) -> float:
        """Return the processing time since shortly before the first chunk, when it waited for this process to read."""
        since_s = delivery.first_chunk_at_s - UNREAD_S
        return self.processing.since_ms(since_s, time.monotonic())

    def _decode(self, delivery: Delivery) -> FeatureMap:
        feature_map = decode_feature_map(delivery.buffer, self.registry)
        header = feature_map.header
        target = header.target
        if target != self.device:
            raise MessageError(f"a feature map for {target}")
        # A direct connection has shown whose it is.
        if delivery.acknowledge is not None and header.sender != delivery.sender:
            raise MessageError(f"a feature map of {header.sender} on the connection of {delivery.sender}")
        return feature_map
