"""Receives the messages of the lane: rows come to their place, and complete inputs are handed over."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from services.executor.admission import Admission
from services.executor.lane_sender import transfer_id_of
from services.executor.outbox import Outbox
from services.executor.sender import AttemptTracker
from shared.bus import topics
from shared.bus.errors import DecodeError
from shared.bus.feature_maps.transport import Delivery
from shared.lane.input_assembly import CompleteInput, GivenUp, InputAssembler, InputKey
from shared.lane.lane_messages import RowsMessage, TableMessage, decode_lane_message, is_lane_message
from shared.lane.lane_tables import ReceivedTable, ReceivedTables
from shared.messages.base import MessageError
from shared.messages.devices import Receipt
from shared.processing_clock import UNREAD_S, ProcessingClock

_LOGGER = logging.getLogger(__name__)

# Takes the table of an input, the message that completed it, and the input, whose memory is admitted.
OnComplete = Callable[[ReceivedTable, RowsMessage, CompleteInput], None]


@dataclass(frozen=True, slots=True)
class _Arrival:
    """Rows that were checked against their table."""

    table: ReceivedTable
    key: InputKey
    message: RowsMessage
    delivery: Delivery


class LaneReceiver:
    """The receiving end of the lane.

    Invariant: the admission holds the memory of every partial input. A message of a partial input never waits for
    admission.
    """

    def __init__(
        self,
        device: str,
        *,
        inputs: InputAssembler,
        attempts: AttemptTracker,
        admission: Admission,
        outbox: Outbox,
        processing: ProcessingClock,
        group: asyncio.TaskGroup,
        on_complete: OnComplete,
    ) -> None:
        """Begin without tables.

        Args:
            device: name of this device.
            inputs: inputs under way.
            attempts: which attempts have been here.
            admission: bounds the memory of inputs, together with that of other feature maps.
            outbox: publishes receipts of what came through the broker.
            processing: clock of this device's processing time.
            group: publishes in it.
            on_complete: takes a complete input, and leaves the admission at its end.
        """
        self._device = device
        self._inputs = inputs
        self._attempts = attempts
        self._admission = admission
        self._outbox = outbox
        self._processing = processing
        self._group = group
        self._on_complete = on_complete
        self._tables = ReceivedTables(device)

    def take_now(self, delivery: Delivery) -> bool:
        """Take a message over and return True; False for a frame, and for a message that `take` has to judge.

        Called by a transport for everything that arrives.
        """
        if not is_lane_message(delivery.buffer):
            return False
        try:
            arrival = self._arrival(delivery)
            if arrival is None:
                return True
            new_bytes = self._inputs.new_bytes(arrival.key, arrival.table.layout)
            if new_bytes and not self._admission.enter_now(new_bytes):
                return False
            self._add(arrival, new_bytes)
        except (DecodeError, MessageError):
            return False
        return True

    async def take(self, delivery: Delivery) -> None:
        """Take a message over; wait while the admission is full.

        Raises:
            MessageError, DecodeError: it is not for this device, or malformed.
        """
        arrival = self._arrival(delivery)
        if arrival is None:
            return
        new_bytes = self._inputs.new_bytes(arrival.key, arrival.table.layout)
        if new_bytes:
            await self._admission.enter(new_bytes)
            if not self._inputs.new_bytes(arrival.key, arrival.table.layout):
                # Other rows have begun the input meanwhile.
                self._admission.leave(new_bytes)
                new_bytes = 0
        self._add(arrival, new_bytes)

    def tick(self, now_s: float) -> None:
        """Give up inputs whose rows have not come; their sources try again."""
        self._leave(self._inputs.expire(now_s))

    def _leave(self, given_up: list[GivenUp]) -> None:
        for each in given_up:
            _LOGGER.info("gave up %s of request %s: rows are missing", f"stage {each.key.stage}", each.key.request_id)
            self._admission.leave(each.size_bytes)

    def _arrival(self, delivery: Delivery) -> _Arrival | None:
        """Decode a message; None for a table, and for rows of a stale attempt.

        Raises:
            MessageError, DecodeError: it is not for this device, or malformed.
        """
        message = decode_lane_message(delivery.buffer)
        if isinstance(message, TableMessage):
            self._tables.learn(delivery.sender, message)
            return None
        table = self._tables.find(delivery.sender, message.table)
        header, facts = table.header, message.facts
        if self._attempts.is_stale(header.stream, facts.request_id, facts.attempt):
            return None
        # Before admission, so that older attempts that wait for it are stale from now on.
        if self._attempts.note(header.stream, facts.request_id, facts.attempt):
            self._leave(self._inputs.give_up(header.stream, facts.request_id, facts.attempt))
        return _Arrival(table, InputKey.of(header.stream, header.stage, facts), message, delivery)

    def _add(self, arrival: _Arrival, new_bytes: int) -> None:
        """Add rows, for which `new_bytes` were admitted, to their input; hand it over with the last of them.

        Raises:
            DecodeError: the rows do not fit.
        """
        table, message, delivery = arrival.table, arrival.message, arrival.delivery
        try:
            complete = self._inputs.take(arrival.key, table.layout, message, delivery.first_chunk_at_s)
        except DecodeError:
            if new_bytes:
                self._admission.leave(new_bytes)
            raise
        if message.measurement:
            self._acknowledge(message.measurement, delivery)
        if complete is None:
            return
        try:
            self._on_complete(table, message, complete)
        except Exception:  # A fault in the handling of one request must not end the device.
            _LOGGER.exception("request %s of the lane could not be handled", arrival.key.request_id)

    def _acknowledge(self, measurement: int, delivery: Delivery) -> None:
        since_s = delivery.first_chunk_at_s - UNREAD_S
        processing_ms = self._processing.since_ms(since_s, time.monotonic())
        transfer_id = transfer_id_of(measurement)
        if delivery.acknowledge is not None:
            delivery.acknowledge(transfer_id, processing_ms)
        elif topics.is_name(delivery.sender):
            receipt = Receipt(transfer_id=transfer_id, receiver=self._device, processing_ms=processing_ms)
            topic = topics.receipts(delivery.sender)
            self._group.create_task(
                self._outbox.publish_best_effort(topic, receipt.encode()), name="receipt of the lane"
            )
