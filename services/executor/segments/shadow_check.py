"""The shadow check: now and then a device that has time sees what the encoding of what it sent does to the answer."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from services.executor.errors import CannotPrepare, ExecutionFailed
from services.executor.outbox import Outbox
from services.executor.segments.coding import Coder
from services.executor.segments.compute_queue import Ticket
from services.executor.segments.device_speed import DeviceSpeed
from services.executor.segments.lifecycle import EpochKey, SegmentKey
from services.executor.segments.processor import Processor
from services.executor.segments.segment import Segment
from services.executor.segments.segment_pool import SegmentPool
from shared.bus import topics
from shared.codecs import CodecError, EncodedTensor
from shared.codecs.encoding_effect import EncodingEffect, effect_on
from shared.messages.calibration import ShadowReport
from shared.messages.requests import FeatureMapHeader

_LOGGER = logging.getLogger(__name__)

_TICKET = Ticket("shadow check")


@dataclass(frozen=True, slots=True)
class SentStage:
    """What a stage has sent on.

    Attributes:
        header: of the request, as it came to the stage.
        arrays: the outputs of the stage as they were computed.
        encoded: the same as they were sent.
    """

    header: FeatureMapHeader
    arrays: Mapping[str, np.ndarray]
    encoded: Mapping[str, EncodedTensor]


@dataclass(frozen=True, slots=True)
class _Job:
    """Runs the rest of the model twice: on what was computed, and on what a receiver decodes."""

    tail: Segment
    sent: SentStage
    coder: Coder

    def __call__(self) -> EncodingEffect:
        decoded = {
            name: self.coder.decode(each.codec, each.spec.dtype.name, each.spec.shape, each.payload())
            for name, each in self.sent.encoded.items()
        }
        return effect_on(self.tail.run(self.sent.arrays), self.tail.run(decoded))


class ShadowCheck:
    """Checks a share of the feature maps that leave this device in a lossy encoding.

    One at a time, and only while nothing waits for the processor: a check takes the time of two runs of the blocks
    that the device does not compute itself. It holds their segment as long as their epoch lasts.
    """

    def __init__(
        self,
        device: str,
        share: float,
        *,
        holder: SegmentPool,
        processor: Processor,
        coder: Coder,
        pace: DeviceSpeed,
        outbox: Outbox,
    ) -> None:
        """Check `share` of the feature maps, 0 to 1; 0 checks none."""
        self.device = device
        self._share = share
        self._holder = holder
        self._processor = processor
        self._coder = coder
        self._pace = pace
        self._outbox = outbox
        self._due = 0.0
        self._news: asyncio.Queue[SentStage] = asyncio.Queue(1)

    def is_due(self, codec: str) -> bool:
        """Count a feature map that will be sent as `codec`; say whether what was computed is wanted for a check."""
        if self._share <= 0 or self._is_lossless(codec):
            return False
        self._due = min(1.0, self._due + self._share)
        return self._has_time

    def offer(self, sent: SentStage) -> None:
        """Take a feature map for a check if one is due and there is time; never waits."""
        if self._has_time and not all(self._is_lossless(each.codec) for each in sent.encoded.values()):
            self._due = 0.0
            self._news.put_nowait(sent)

    @property
    def _has_time(self) -> bool:
        return self._due >= 1.0 and not self._processor.waiting and self._news.empty()

    async def run(self) -> None:
        """Check for ever."""
        while True:
            sent = await self._news.get()
            try:
                await self._check(sent)
            except (CannotPrepare, CodecError, ExecutionFailed, MemoryError) as error:
                _LOGGER.info("no shadow check of request %s: %s", sent.header.request_id, error)

    async def _check(self, sent: SentStage) -> None:
        header = sent.header
        cut = header.stages[header.stage].stop
        manifest = self._holder.manifest(header.model)
        if manifest is None:
            return
        key = SegmentKey(header.model, cut, len(manifest.blocks))
        factor = self._pace.factor
        async with self._holder.borrow(EpochKey(header.stream, header.epoch), key) as tail:
            nominal = (lambda took_ms: factor * took_ms) if self._pace.emulated else None
            done = await self._processor.run(_Job(tail, sent, self._coder), _TICKET, nominal_ms=nominal)
        effect = done.value
        report = ShadowReport(
            device=self.device,
            model=header.model,
            stream=header.stream,
            block=cut - 1,
            codec=header.stages[header.stage].codec,
            max_abs_error=effect.max_abs_error,
            max_relative_error=effect.max_relative_error,
            top1_agreement=effect.top1_agreement,
            top5_agreement=effect.top5_agreement,
            measured_at_s=time.time(),
        )
        await self._outbox.mention(topics.shadow(header.model), report.encode())

    def _is_lossless(self, codec: str) -> bool:
        found = self._coder.registry.get(codec)
        return found is not None and found.lossless
