"""What a device sends to others: feature maps, one after the other, as long as somebody waits for them."""

import asyncio
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from services.executor.feature_maps import encode_feature_map
from services.executor.outbox import Outbox
from services.executor.transfers import TransferLedger
from shared.bus.errors import BusError
from shared.bus.frame import frame_size_bytes
from shared.bus.transport import FeatureMapTransport
from shared.codecs import EncodedTensor
from shared.messages.events import EventKind
from shared.messages.requests import FeatureMapHeader

_LOGGER = logging.getLogger(__name__)

_MAX_OUTGOING: Final = 16
_SHORTEST_SEND_TIMEOUT_S: Final = 15.0
_REMEMBERED_ATTEMPTS: Final = 4096


class AttemptTracker:
    """The newest attempts at requests that have been here. Pure."""

    def __init__(self) -> None:
        """Know of none."""
        self._newest: OrderedDict[tuple[str, str], int] = OrderedDict()

    def note(self, header: FeatureMapHeader) -> None:
        """An attempt is here."""
        key = (header.stream, header.request_id)
        self._newest[key] = max(header.attempt, self._newest.pop(key, 0))
        if len(self._newest) > _REMEMBERED_ATTEMPTS:
            self._newest.popitem(last=False)

    def is_stale(self, header: FeatureMapHeader) -> bool:
        """Whether a newer attempt at the same request has been here: nobody waits for this one."""
        return self._newest.get((header.stream, header.request_id), 0) > header.attempt


@dataclass(eq=False, slots=True)
class _Outgoing:
    """A feature map on its way out; `timeout` is there while it is sent."""

    header: FeatureMapHeader
    tensors: Mapping[str, EncodedTensor]
    is_answered: bool = False
    timeout: asyncio.Timeout | None = None


class Sender:
    """A device's sends: they go out one after the other, and end when their request does.

    A request too large for its link is given up after a while; were the rest of it still sent, it would hold up
    everything behind it.
    """

    def __init__(
        self,
        device: str,
        transport: FeatureMapTransport,
        ledger: TransferLedger,
        outbox: Outbox,
        attempts: AttemptTracker,
    ) -> None:
        """Put the parts together; `run` makes them work."""
        self._device = device
        self._transport = transport
        self._ledger = ledger
        self._outbox = outbox
        self._attempts = attempts
        self._queue: asyncio.Queue[_Outgoing] = asyncio.Queue(_MAX_OUTGOING)
        self._here: list[_Outgoing] = []

    async def put(self, header: FeatureMapHeader, tensors: Mapping[str, EncodedTensor]) -> None:
        """Send a feature map to the device of its stage, after those before it; waits for room in the queue."""
        outgoing = _Outgoing(header, tensors)
        self._here.append(outgoing)
        await self._queue.put(outgoing)

    def answered(self, stream: str, request_id: str) -> None:
        """A request has its outcome: send nothing more of it, not even the rest of what is on its way."""
        for outgoing in self._here:
            if (outgoing.header.stream, outgoing.header.request_id) == (stream, request_id):
                outgoing.is_answered = True
                if outgoing.timeout is not None:
                    outgoing.timeout.reschedule(asyncio.get_running_loop().time())

    async def sent(self) -> None:
        """Wait until nothing is to be sent."""
        await self._queue.join()

    async def run(self) -> None:
        """Send for ever."""
        while True:
            outgoing = await self._queue.get()
            try:
                if not outgoing.is_answered and not self._attempts.is_stale(outgoing.header):
                    await self._send(outgoing)
            finally:
                self._here.remove(outgoing)
                self._queue.task_done()

    async def _send(self, outgoing: _Outgoing) -> None:
        header = outgoing.header
        target = header.stages[header.stage].device
        transfer_id = uuid.uuid4().hex
        trace = header.trace
        if trace and trace[-1].device == self._device:
            trace = (*trace[:-1], trace[-1].model_copy(update={"sent_at_s": time.time()}))
        stamped = header.model_copy(update={"transfer_id": transfer_id, "sender": self._device, "trace": trace})
        pieces = encode_feature_map(stamped, outgoing.tensors)
        size_bytes = frame_size_bytes(pieces)
        self._ledger.started(transfer_id, target, size_bytes, time.monotonic())
        timeout_s = max(_SHORTEST_SEND_TIMEOUT_S, 5 * self._ledger.overdue_after_ms(target, size_bytes) / 1000)
        try:
            async with asyncio.timeout(timeout_s) as outgoing.timeout:
                sent = await self._transport.send(target, pieces)
            self._ledger.began(transfer_id, sent.started_at_s)
        except (BusError, TimeoutError) as error:
            self._ledger.abandoned(transfer_id)
            if outgoing.is_answered:
                return
            text = f"request {header.request_id} was not sent to {target}: {error or 'timeout'}"
            _LOGGER.warning("%s", text)
            await self._outbox.report(EventKind.FAILURE, text, stream=header.stream, device=self._device)
        finally:
            outgoing.timeout = None
