"""Receives the large outputs of attempts that end on other devices, for the sources of this one."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from services.executor.outbox import Outbox
from shared.bus import topics
from shared.bus.chunks import decode_chunk
from shared.bus.connection import Connection, Received
from shared.bus.errors import AccessRefused, BusError, DecodeError
from shared.large_outcomes import AssembledOutcome, OutcomeAssembler
from shared.messages.base import MessageError
from shared.messages.requests import REQUEST_ID_PROPERTY, STREAM_PROPERTY, OutputTransfer

_LOGGER = logging.getLogger(__name__)

_SWEEP_S: Final = 1.0
# Pause between two reports that outputs arrive, far below the shortest timeout of an attempt.
_REPORT_S: Final = 0.25
_MAX_REMEMBERED: Final = 256
# Largest results that may be under way together. Beyond it, the one that has waited longest is given up and sent again.
_RESULTS_AT_ONCE: Final = 2


class OutputTaker(Protocol):
    """Takes large outputs."""

    def awaits(self, stream: str, request_id: str) -> bool:
        """Return whether a request is accepted here and has no outcome yet."""
        ...

    async def outputs_arriving(self, stream: str, request_id: str) -> None:
        """Take note that outputs of a request arrive."""
        ...

    async def outputs_arrived(self, assembled: AssembledOutcome) -> None:
        """Take an outcome with its outputs."""
        ...


@dataclass(slots=True)
class OutputReceiver:
    """Receives on a connection of its own: a large result delays neither control messages nor feature maps.

    Outputs that are larger than the memory that is free for them are refused at their first chunk. Their request then
    ends with the outcome that follows, which has none.

    Attributes:
        connection: receives the chunks.
        outbox: reports messages that do not decode.
        limit_bytes: returns the size of the largest result that fits now.
        first_limit_bytes: its value at the start, of which the bound on all transfers together follows.
    """

    connection: Connection
    outbox: Outbox
    limit_bytes: Callable[[], int]
    first_limit_bytes: int
    _assembler: OutcomeAssembler = field(init=False)
    # Bound on all transfers under way together.
    _most_bytes: int = field(init=False)
    # Newest transfers that have begun, with the limit if they were refused. The newest is the last.
    _limits: OrderedDict[bytes, int | None] = field(default_factory=OrderedDict, init=False)
    # Why nothing can be received; empty if it can.
    _denied: str = field(default="", init=False)
    _reported_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._most_bytes = _RESULTS_AT_ONCE * self.first_limit_bytes
        self._assembler = OutcomeAssembler(self._most_bytes)

    def obstacle(self, transfer: OutputTransfer) -> str:
        """Return why a transfer will not be received; empty if it is, or may be."""
        if self._denied:
            return self._denied
        identity = bytes.fromhex(transfer.transfer_id)
        limit_bytes = (
            self._limits[identity] if identity in self._limits else self._limit_if_exceeded(transfer.size_bytes)
        )
        if limit_bytes is None:
            return ""
        return f"{transfer.size_bytes} bytes, the source has memory for {limit_bytes}"

    async def run(self, taker: OutputTaker) -> None:
        """Receive until cancelled; a chunk that does not decode is counted and dropped."""
        await self._subscribe()
        while True:
            try:
                # Transfers that have ended are given up also while nothing arrives.
                async with asyncio.timeout(_SWEEP_S):
                    received = await anext(self.connection)
            except TimeoutError:
                self._assembler.expire(time.monotonic())
                continue
            try:
                await self._take(received, taker)
            except (MessageError, DecodeError) as error:
                await self.outbox.note_bad_message(received.topic, str(error))

    async def _subscribe(self) -> None:
        topic = topics.outcome_chunks(self.outbox.device)
        try:
            await self.connection.subscribe(topic)
        except AccessRefused:
            self._denied = f"the broker's access rules deny: read {self.connection.settings.root}/{topic}"
            _LOGGER.warning("%s", self._denied)
        except BusError as error:
            # The connection subscribes again after its next reconnect.
            _LOGGER.warning("%s", error)

    async def _take(self, received: Received, taker: OutputTaker) -> None:
        stream, request_id = received.user.get(STREAM_PROPERTY, ""), received.user.get(REQUEST_ID_PROPERTY, "")
        if not taker.awaits(stream, request_id):
            return
        chunk, now_s = decode_chunk(received.payload), time.monotonic()
        is_first = chunk.transfer_id not in self._limits
        if is_first:
            self._remember(chunk.transfer_id, self._limit_if_exceeded(chunk.total_bytes))
        if self._limits[chunk.transfer_id] is not None:
            return
        if is_first or now_s - self._reported_s >= _REPORT_S:
            self._reported_s = now_s
            await taker.outputs_arriving(stream, request_id)
        assembled = self._assembler.add(received.payload, stream, request_id, now_s)
        if assembled is not None:
            await taker.outputs_arrived(assembled)

    def _limit_if_exceeded(self, size_bytes: int) -> int | None:
        limit_bytes = min(self.limit_bytes(), self._most_bytes)
        return limit_bytes if size_bytes > limit_bytes else None

    def _remember(self, transfer_id: bytes, limit_bytes: int | None) -> None:
        self._limits[transfer_id] = limit_bytes
        if len(self._limits) > _MAX_REMEMBERED:
            self._limits.popitem(last=False)
