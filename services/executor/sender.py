"""Sends feature maps to other devices one at a time; drops those whose request is finished."""

import asyncio
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from services.executor.feature_maps import RowPlace, encode_feature_map
from services.executor.outbox import Outbox
from services.executor.peer_clocks import source_time_s
from services.executor.transfers import TransferLedger
from shared.bus.errors import BusError
from shared.bus.feature_maps.transport import FeatureMapTransport
from shared.bus.frame import frame_size_bytes
from shared.codecs import EncodedTensor
from shared.messages.events import EventKind
from shared.messages.requests import FeatureMapHeader

_LOGGER = logging.getLogger(__name__)

_MAX_OUTGOING: Final = 16
_MIN_SEND_TIMEOUT_S: Final = 15.0
# A send is given up after this multiple of the time after which it is overdue.
_SEND_TIMEOUT_FACTOR: Final = 5
_REMEMBERED_ATTEMPTS: Final = 4096
# Estimate of a frame's size beside its tensors.
_HEADER_BYTES: Final = 4096


class AttemptTracker:
    """Newest attempts of the requests that have been on this device, the last few thousand of them.

    A source that retries a request awaits the outcome of any attempt, but work for an older one is wasted.
    """

    def __init__(self) -> None:
        """Create a tracker without attempts."""
        self._newest: OrderedDict[tuple[str, str], int] = OrderedDict()

    def note(self, stream: str, request_id: str, attempt: int) -> bool:
        """Record an attempt that is here, and return whether it is newer than one that has been here."""
        key = stream, request_id
        before = self._newest.pop(key, None)
        self._newest[key] = attempt if before is None else max(attempt, before)
        if len(self._newest) > _REMEMBERED_ATTEMPTS:
            self._newest.popitem(last=False)
        return before is not None and attempt > before

    def is_stale(self, stream: str, request_id: str, attempt: int) -> bool:
        """Return whether a newer attempt of the same request has been here."""
        return self._newest.get((stream, request_id), 0) > attempt


@dataclass(eq=False, slots=True)
class _Outgoing:
    """A feature map to send; `timeout` is set while it is being sent."""

    header: FeatureMapHeader
    tensors: Mapping[str, EncodedTensor]
    places: Mapping[str, RowPlace] | None
    is_cancelled: bool = False
    timeout: asyncio.Timeout | None = None


class Sender:
    """Queue of the feature maps that leave this device.

    They are sent one at a time. On a shared radio link parallel transfers finish no earlier, and each would measure a
    fraction of the bandwidth. Small ones pass the large ones where the transport sends them between their parts.

    A send is given up after its timeout, or when its request has its outcome (`cancel`). So a request too large for its
    link does not delay those behind it for long.
    """

    def __init__(
        self,
        device: str,
        transport: FeatureMapTransport,
        ledger: TransferLedger,
        outbox: Outbox,
        attempts: AttemptTracker,
    ) -> None:
        """Create a sender that works while `run` does."""
        self._device = device
        self._transport = transport
        self._ledger = ledger
        self._outbox = outbox
        self._attempts = attempts
        self._queue: asyncio.Queue[_Outgoing] = asyncio.Queue(_MAX_OUTGOING)
        # Those that pass the others.
        self._small: asyncio.Queue[_Outgoing] = asyncio.Queue(_MAX_OUTGOING)
        # Queued feature maps, those being sent, and those whose `put` waits at a full queue.
        self._pending: list[_Outgoing] = []

    async def put(
        self,
        header: FeatureMapHeader,
        tensors: Mapping[str, EncodedTensor],
        places: Mapping[str, RowPlace] | None = None,
    ) -> None:
        """Queue a feature map for the device of its stage; waits while the queue is full.

        Args:
            header: of the stage that comes next.
            tensors: its input, or rows of it.
            places: the places of rows.
        """
        outgoing = _Outgoing(header, tensors, places)
        self._pending.append(outgoing)
        size_bytes = _HEADER_BYTES + sum(tensor.size_bytes for tensor in tensors.values())
        target = header.target
        is_small = self._transport.passes_others(target, size_bytes, header.transport)
        await (self._small if is_small else self._queue).put(outgoing)

    def cancel(self, stream: str, request_id: str) -> None:
        """Send nothing more of a request, not even the rest of a feature map that is being sent."""
        for outgoing in self._pending:
            if (outgoing.header.stream, outgoing.header.request_id) == (stream, request_id):
                outgoing.is_cancelled = True
                if outgoing.timeout is not None:
                    # Ends the send at the next pass of the event loop, without cancelling the task that sends.
                    outgoing.timeout.reschedule(asyncio.get_running_loop().time())

    async def drain(self) -> None:
        """Wait until nothing is left to send."""
        await self._queue.join()
        await self._small.join()

    async def run(self) -> None:
        """Send queued feature maps until cancelled."""
        async with asyncio.TaskGroup() as group:
            for queue in (self._queue, self._small):
                group.create_task(self._send_queued(queue), name="send")

    async def _send_queued(self, queue: asyncio.Queue[_Outgoing]) -> None:
        while True:
            outgoing = await queue.get()
            try:
                header = outgoing.header
                is_stale = self._attempts.is_stale(header.stream, header.request_id, header.attempt)
                if not outgoing.is_cancelled and not is_stale:
                    await self._send(outgoing)
            finally:
                self._pending.remove(outgoing)
                queue.task_done()

    async def _send(self, outgoing: _Outgoing) -> None:
        header = outgoing.header
        target = header.target
        transfer_id = uuid.uuid4().hex
        carrier = self._transport.carrier(target, header.transport)
        trace, now_s = header.trace, time.monotonic()
        if trace and trace[-1].device == self._device:
            stamp = {"sent_at_s": source_time_s(header, now_s), "transport": carrier}
            trace = (*trace[:-1], trace[-1].model_copy(update=stamp))
        stamped = header.model_copy(
            update={"transfer_id": transfer_id, "sender": self._device, "trace": trace, "sent_s": now_s}
        )
        pieces = encode_feature_map(stamped, outgoing.tensors, outgoing.places)
        size_bytes = frame_size_bytes(pieces)
        # Before the send: the receipt travels on another connection and may arrive before `send` returns.
        self._ledger.started(transfer_id, target, size_bytes, time.monotonic(), carrier, header)
        overdue_s = self._ledger.overdue_after_ms(target, size_bytes, carrier) / 1000
        timeout_s = max(_MIN_SEND_TIMEOUT_S, _SEND_TIMEOUT_FACTOR * overdue_s)
        try:
            async with asyncio.timeout(timeout_s) as outgoing.timeout:
                sent = await self._transport.send(target, pieces, mode=header.transport)
            self._ledger.sent(transfer_id, sent.started_at_s, sent.carrier)
        except (BusError, TimeoutError) as error:
            self._ledger.abandoned(transfer_id)
            if outgoing.is_cancelled:
                return
            text = f"request {header.request_id} was not sent to {target}: {error or 'timeout'}"
            _LOGGER.warning("%s", text)
            await self._outbox.report(EventKind.FAILURE, text, stream=header.stream, device=self._device)
        finally:
            outgoing.timeout = None
