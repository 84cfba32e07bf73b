"""Sends small feature maps on the lane: at once, without a queue, a model or a receipt per message."""

import secrets
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np

from services.executor.peer_clocks import source_time_s
from services.executor.transfers import TransferLedger
from shared.bus.feature_maps.transport import FeatureMapTransport
from shared.bus.frame import frame_size_bytes
from shared.codecs.spec import as_bytes
from shared.lane.input_assembly import row_count
from shared.lane.lane_messages import Piece, RequestFacts, encode_rows
from shared.lane.lane_requests import facts_of
from shared.lane.lane_tables import SentTables, Tensors, tensors_of
from shared.lane.stage_records import StageRecord, last_record
from shared.messages.devices import LANE, Presence, State
from shared.messages.requests import FeatureMapHeader
from shared.transport_mode import Carrier

# Larger outputs go in frames: their bytes take longer than what the lane saves.
LANE_BYTES: Final = 128 * 1024
# One message in this time per receiver is acknowledged, so that links are measured.
_MEASURED_EVERY_S: Final = 0.1
_MAX_PEERS: Final = 1024
# Messages per receiver that are remembered without a receipt. Those before them are found lost by their sources.
_MAX_UNCONFIRMED: Final = 256


def transfer_id_of(measurement: int) -> str:
    """Return the id of the transfer that a message's measurement number stands for, for its receipt."""
    return f"lane-{measurement}"


@dataclass(frozen=True, slots=True)
class SentAttempt:
    """An attempt of which a message was sent directly. No message after it on the same connection is acknowledged yet.

    Attributes:
        source: device of the request's source.
        stream: its stream.
        request_id: its id.
        attempt: number of the attempt.
        transfer_id: of the message if it is measured; else empty.
    """

    source: str
    stream: str
    request_id: str
    attempt: int
    transfer_id: str


class LaneSender:
    """The sending end of the lane.

    A message is sent only if the transport takes it at once. What it does not take travels in a frame, through the
    queue of `Sender`. Nothing says whether a message arrives: the request's source tries again if its outcome does not
    come.
    """

    def __init__(self, device: str, transport: FeatureMapTransport, ledger: TransferLedger, limit_bytes: int) -> None:
        """Begin without receivers.

        Args:
            device: name of this device.
            transport: carries the messages.
            ledger: takes note of the messages that are acknowledged.
            limit_bytes: largest feature map that is sent on the lane; 0 for none.
        """
        self._device = device
        self._transport = transport
        self._ledger = ledger
        self._limit_bytes = limit_bytes
        self._tables = SentTables(device, secrets.randbits(31))
        # Boot id of the devices that take messages of the lane.
        self._boots: OrderedDict[str, str] = OrderedDict()
        self._measured_s: dict[str, float] = {}
        self._unconfirmed: defaultdict[str, deque[SentAttempt]] = defaultdict(partial(deque, maxlen=_MAX_UNCONFIRMED))
        self._measurement = secrets.randbits(31)

    def learn(self, presence: Presence) -> None:
        """Take the presence of another device."""
        self._boots.pop(presence.device, None)
        self._measured_s.pop(presence.device, None)
        if presence.state is not State.ONLINE:
            self._unconfirmed.pop(presence.device, None)
        if presence.state is State.ONLINE and LANE in presence.transports:
            self._boots[presence.device] = presence.boot_id
            if len(self._boots) > _MAX_PEERS:
                self._boots.popitem(last=False)

    def received(self, transfer_id: str, receiver: str) -> None:
        """Take a receipt that came on a direct connection: what was sent there before has arrived as well."""
        unconfirmed = self._unconfirmed[receiver]
        if any(sent.transfer_id == transfer_id for sent in unconfirmed):
            while unconfirmed.popleft().transfer_id != transfer_id:
                pass

    def lost(self, device: str) -> list[SentAttempt]:
        """Take the end of a direct connection, and return the attempts whose messages may be lost with it."""
        self._tables.forget(device)
        return list(dict.fromkeys(self._unconfirmed.pop(device, ())))

    def send(self, header: FeatureMapHeader, tensors: Mapping[str, np.ndarray]) -> bool:
        """Send a feature map whose header has come in a frame, or was made here.

        Args:
            header: of the stage that comes next; the trace ends with the stage that was computed here.
            tensors: its input.

        Returns:
            False if the lane cannot carry it now.
        """
        if not self._reaches(header, tensors) or (found := facts_of(header)) is None:
            return False
        facts, records = found
        record = last_record(records)
        return record is not None and self.send_whole(header, facts, records[: -len(record.pack())], record, tensors)

    def send_whole(
        self,
        header: FeatureMapHeader,
        facts: RequestFacts,
        records: bytes,
        record: StageRecord,
        tensors: Mapping[str, np.ndarray],
    ) -> bool:
        """Send whole tensors to the device of a stage.

        Args:
            header: what is common to the stream's epoch, with the stage that comes next.
            facts: the request, its times on this device's clock.
            records: of the stages before.
            record: of the stage that was computed here.
            tensors: the input of the stage. They must never change.

        Returns:
            False if the lane cannot carry it now.
        """
        if not self._reaches(header, tensors):
            return False
        pieces = [
            (Piece(index, 0, rows), as_bytes(array))
            for index, array in enumerate(tensors.values())
            if (rows := row_count(array.shape))
        ]
        return self.send_rows(header, tensors_of(tensors), facts, records, record, pieces)

    def send_rows(
        self,
        header: FeatureMapHeader,
        tensors: Tensors,
        facts: RequestFacts,
        records: bytes,
        record: StageRecord,
        pieces: Sequence[tuple[Piece, memoryview]],
    ) -> bool:
        """Send rows of the input of a stage to its device, which takes messages of the lane.

        Args:
            header: as for `send_whole`.
            tensors: the whole input.
            facts: as for `send_whole`, and the next two as well.
            records: of the stages before.
            record: of the stage that was computed here.
            pieces: the rows, of at most `LANE_BYTES` together. Their memory must never change.

        Returns:
            False if the lane cannot carry them now.
        """
        target = header.target
        now_s = time.monotonic()
        carrier = self._transport.carrier(target, header.transport)
        try:
            table = self._tables.table(header, tensors)
        except ValueError:
            return False
        if table.is_due(boot_id := self._boots[target], carrier, now_s):
            if not self._transport.send_now(target, [table.message], header.transport):
                return False
            table.sent(boot_id, carrier, now_s)
        size_bytes = sum(len(rows) for _, rows in pieces)
        stamped = replace(record, sent_at_s=source_time_s(facts, now_s), output_bytes=size_bytes, carrier=carrier)
        measurement = self._next_measurement(target, now_s)
        message = encode_rows(table.number, facts, now_s, records + stamped.pack(), pieces, measurement=measurement)
        transfer_id = transfer_id_of(measurement) if measurement else ""
        if measurement:
            # Before the send: over a Unix socket the receipt may come first.
            self._ledger.started(transfer_id, target, frame_size_bytes(message), now_s, carrier)
            self._ledger.sent(transfer_id, now_s, carrier)
        if not self._transport.send_now(target, message, header.transport):
            self._ledger.abandoned(transfer_id)
            return False
        if carrier is Carrier.DIRECT:
            sent = SentAttempt(header.source, header.stream, facts.request_id, facts.attempt, transfer_id)
            self._unconfirmed[target].append(sent)
        return True

    def _reaches(self, header: FeatureMapHeader, tensors: Mapping[str, np.ndarray]) -> bool:
        """Return whether the receiver takes messages of the lane, and the tensors are small and not all empty."""
        size_bytes = sum(array.nbytes for array in tensors.values())
        return 0 < size_bytes <= self._limit_bytes and header.target in self._boots

    def _next_measurement(self, target: str, now_s: float) -> int:
        if now_s - self._measured_s.get(target, float("-inf")) < _MEASURED_EVERY_S:
            return 0
        self._measured_s[target] = now_s
        self._measurement = self._measurement % (2**32 - 1) + 1
        return self._measurement
