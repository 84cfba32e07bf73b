"""Shadow checks: the effect of a lossy encoding on the model's answer, measured on an idle device."""

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
from services.executor.segments.processor import Processor
from services.executor.segments.segment import Segment
from services.executor.segments.segment_events import EpochKey, SegmentKey
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
    """Output of a stage that was sent on.

    Attributes:
        header: header of the request, as it arrived at the stage.
        arrays: tensors as computed.
        encoded: the same tensors as sent.
    """

    header: FeatureMapHeader
    arrays: Mapping[str, np.ndarray]
    encoded: Mapping[str, EncodedTensor]


@dataclass(frozen=True, slots=True)
class _Job:
    """Runs the rest of the model twice: on the tensors as computed, and as a receiver decodes them."""

    tail: Segment
    sent: SentStage
    coder: Coder

    def __call__(self) -> EncodingEffect:
        decoded = {
            name: self.coder.decode(tensor.codec, tensor.spec.dtype.name, tensor.spec.shape, tensor.payload())
            for name, tensor in self.sent.encoded.items()
        }
        return effect_on(self.tail.run(self.sent.arrays), self.tail.run(decoded))


class ShadowCheck:
    """Checks a share of the feature maps that leave this device in a lossy encoding.

    A check takes the time of two runs of the blocks behind the cut. So checks run one at a time, and begin only while
    nothing waits for the processor. A check borrows the segment of these blocks, which stays loaded with the epoch.
    """

    def __init__(
        self,
        device: str,
        share: float,
        *,
        pool: SegmentPool,
        processor: Processor,
        coder: Coder,
        speed: DeviceSpeed,
        outbox: Outbox,
    ) -> None:
        """Check `share` of the feature maps, 0 to 1; 0 checks none."""
        self.device = device
        self._share = share
        self._pool = pool
        self._processor = processor
        self._coder = coder
        self._speed = speed
        self._outbox = outbox
        # Accumulated share; a check is due at 1.
        self._due = 0.0
        # At most one feature map waits; while it does, others are not checked (`_has_time`).
        self._queue: asyncio.Queue[SentStage] = asyncio.Queue(1)

    def is_due(self, codec: str) -> bool:
        """Count a feature map that will be sent as `codec`; return whether to keep its tensors for a check."""
        if self._share <= 0 or self._is_lossless(codec):
            return False
        # Bounded: after a busy period one check is due, not a series of them.
        self._due = min(1.0, self._due + self._share)
        return self._has_time

    def offer(self, sent: SentStage) -> None:
        """Check a feature map if a check is due and the device has time; never waits."""
        if self._has_time and not all(self._is_lossless(tensor.codec) for tensor in sent.encoded.values()):
            self._due = 0.0
            self._queue.put_nowait(sent)

    @property
    def _has_time(self) -> bool:
        return self._due >= 1.0 and not self._processor.waiting and self._queue.empty()

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            sent = await self._queue.get()
            try:
                await self._check(sent)
            except (CannotPrepare, CodecError, ExecutionFailed, MemoryError) as error:
                _LOGGER.info("no shadow check of request %s: %s", sent.header.request_id, error)

    async def _check(self, sent: SentStage) -> None:
        header = sent.header
        cut = header.stages[header.stage].stop
        epoch = EpochKey(header.stream, header.epoch)
        manifest = self._pool.manifest_of(epoch, header.model)
        if manifest is None:
            return
        # Without an encoding in the key: the end of the model is never sent encoded.
        key = SegmentKey(header.model, cut, len(manifest.blocks))
        factor = self._speed.factor
        async with self._pool.borrow(epoch, key) as tail:
            nominal = (lambda took_ms: factor * took_ms) if self._speed.emulated else None
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
        # QoS 0 is enough, because one report among many changes little.
        await self._outbox.publish_best_effort(topics.shadow(header.model), report.encode())

    def _is_lossless(self, codec: str) -> bool:
        known = self._coder.registry.get(codec)
        return known is not None and known.lossless
