"""One device of `benchmarks.tile_messages`: exchanges rows with its neighbours with an executor's own parts.

    python -m benchmarks.tile_worker INDEX HOST:PORT TRANSPORT LANE REQUESTS

It reads lines from its input: `go` begins the requests, the end of the input ends it. It writes `ready`, device 0 also
`done` after the requests, and at the end its measurements of the last of them as JSON.
"""

import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from services.executor.admission import Admission
from services.executor.feature_maps import FeatureMap
from services.executor.inbox import Inbox
from services.executor.lane_receiver import LaneReceiver
from services.executor.lane_sender import LANE_BYTES, LaneSender
from services.executor.outbox import Outbox
from services.executor.segments.compute_queue import Ticket
from services.executor.segments.processor import Processor
from services.executor.sender import AttemptTracker, Sender
from services.executor.transfers import TransferLedger
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.feature_maps.transport import BrokerTransport
from shared.bus.malloc_tuning import keep_large_buffers
from shared.bus.settings import BusSettings
from shared.codecs import RAW, encode_tensor, load_registry
from shared.codecs.spec import as_bytes
from shared.direct.direct_settings import DirectSettings
from shared.direct.direct_transport import DirectReceipt, DirectTransport
from shared.direct.transport_switch import TransportSwitch
from shared.lane.input_assembly import CompleteInput, InputAssembler
from shared.lane.lane_messages import Piece, RequestFacts, RowsMessage
from shared.lane.lane_tables import ReceivedTable, Tensors
from shared.lane.stage_records import StageRecord
from shared.messages.devices import LANE, Presence, Receipt, State
from shared.messages.requests import FeatureMapHeader
from shared.messages.streams import PlanStage
from shared.processing_clock import ProcessingClock
from shared.transport_mode import TransportMode

VOLUMES: Final = 14
DEVICES: Final = tuple(f"tile{index}" for index in range(4))
# One row of a layer of VGG16: 57 kB.
_ROW: Final = np.zeros((1, 64, 1, 224), np.float32)
# Stage v + 1 is volume v: the stage 0 of a route is the request, which does not travel on the lane.
_GATHER: Final = VOLUMES + 1
_WAIT_S: Final = 60.0


def senders_of(device: int, stage: int) -> tuple[int, ...]:
    """Return the devices that send a row for a stage of a device: scatter, halo rows of both neighbours, gather."""
    if stage == 1:
        return () if device == 0 else (0,)
    if stage == _GATHER:
        return tuple(range(1, len(DEVICES))) if device == 0 else ()
    return tuple(other for other in (device - 1, device + 1) if 0 <= other < len(DEVICES))


def messages_of_request() -> int:
    """Return the number of messages of one request."""
    return sum(len(senders_of(device, stage)) for device in range(len(DEVICES)) for stage in range(1, _GATHER + 1))


@dataclass(slots=True)
class TileWorker:
    """A device with one tile of every volume.

    Attributes:
        index: its place among the devices.
        has_lane: whether rows travel on the lane, and not in frames.
        total_ms: duration of the requests; of device 0 only.
        latency_ms: from the start of a send to the input at the receiver, of the rows that completed an input.
    """

    index: int
    has_lane: bool
    lane: LaneSender
    sender: Sender
    processor: Processor
    admission: Admission
    group: asyncio.TaskGroup
    total_ms: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    _rows: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    _ready: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    _headers: dict[tuple[int, int], FeatureMapHeader] = field(default_factory=dict)
    _requests: int = 0
    _gathered: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, count: int) -> None:
        """Run requests one after the other; on device 0 only."""
        for _ in range(count):
            self._gathered.clear()
            started_s = time.monotonic()
            self._requests += 1
            request_id = f"r{self._requests}"
            for other in range(1, len(DEVICES)):
                self._send(request_id, other, 1)
            self._begin(request_id, 1)
            async with asyncio.timeout(_WAIT_S):
                await self._gathered.wait()
            self.total_ms.append(1000 * (time.monotonic() - started_s))

    def on_complete(self, table: ReceivedTable, message: RowsMessage, complete: CompleteInput) -> None:
        """Take the rows of a stage from the lane."""
        self.latency_ms.append(1000 * (time.monotonic() - message.sent_s))
        self.admission.leave(table.layout.size_bytes)
        self._step(message.facts.request_id, table.header.stage)

    def admit_now(self, feature_map: FeatureMap) -> bool:
        """Take a row in a frame; like a pipeline in a task of its own."""
        self.group.create_task(self._take_frame(feature_map))
        return True

    def take_rows(self, feature_map: FeatureMap) -> None:
        """Take a row in a frame."""
        self.admit_now(feature_map)

    async def admit(self, feature_map: FeatureMap) -> None:
        """Take a row in a frame."""
        self.admit_now(feature_map)

    async def _take_frame(self, feature_map: FeatureMap) -> None:
        header = feature_map.header
        self._rows[header.request_id, header.stage] += 1
        if self._rows[header.request_id, header.stage] == len(senders_of(self.index, header.stage)):
            self.latency_ms.append(1000 * (time.monotonic() - (header.sent_s or 0.0)))
            self._step(header.request_id, header.stage)

    def _step(self, request_id: str, stage: int) -> None:
        """Begin a stage when its rows have come and its own part of the stage before is computed."""
        self._ready[request_id, stage] += 1
        needed = 1 if stage == 1 else 2
        if self._ready[request_id, stage] == needed:
            self._begin(request_id, stage)

    def _begin(self, request_id: str, stage: int) -> None:
        if stage == _GATHER:
            self._gathered.set()
            return
        # Nothing is computed, but by the compute thread.
        self.processor.submit(int, Ticket("tiles"), lambda done, error: self._computed(request_id, stage))

    def _computed(self, request_id: str, stage: int) -> None:
        after = stage + 1
        for other in range(len(DEVICES)):
            if self.index in senders_of(other, after):
                self._send(request_id, other, after)
        if after < _GATHER or self.index == 0:
            self._step(request_id, after)

    def _send(self, request_id: str, other: int, stage: int) -> None:
        header, now_s = self._header(other, stage), time.monotonic()
        if not self.has_lane:
            own = header.model_copy(update={"request_id": request_id})
            self.group.create_task(self.sender.put(own, {"x": encode_tensor(_ROW, _RAW)}))
            return
        senders = senders_of(other, stage)
        tensors: Tensors = (("x", "float32", (1, 64, len(senders), 224)),)
        facts = RequestFacts(request_id, 1, 0, 1.0, 1.0, None, now_s)
        top = senders.index(self.index)
        pieces = [(Piece(0, top, top + 1), as_bytes(_ROW))]
        if not self.lane.send_rows(header, tensors, facts, b"", StageRecord(stage - 1, 1.0, 0.0, 0.0), pieces):
            raise RuntimeError(f"{DEVICES[self.index]}: the lane takes no rows for {DEVICES[other]}")

    def _header(self, other: int, stage: int) -> FeatureMapHeader:
        known = self._headers.get((other, stage))
        if known is None:
            stages = tuple(PlanStage(start=k, stop=k + 1, device=DEVICES[other]) for k in range(_GATHER + 1))
            known = self._headers[other, stage] = _first_header(DEVICES[self.index], stages, stage)
        return known


_RAW: Final = load_registry().find(RAW)


def _first_header(device: str, stages: tuple[PlanStage, ...], stage: int) -> FeatureMapHeader:
    return FeatureMapHeader(
        transfer_id="",
        sender=device,
        request_id="r",
        stream="tiles",
        model="0" * 64,
        epoch=1,
        attempt=1,
        stages=stages,
        stage=stage,
        tensors=(),
        source=DEVICES[0],
        accepted_at_s=1.0,
        dispatched_at_s=1.0,
    )


@asynccontextmanager
async def opened(index: int, settings: BusSettings, mode: TransportMode, has_lane: bool) -> AsyncIterator[TileWorker]:
    """Open the parts of a device, and wait until it reaches the others."""
    device = DEVICES[index]
    async with AsyncExitStack() as stack:
        control = await stack.enter_async_context(Connection.open(settings))
        broker = await stack.enter_async_context(BrokerTransport.open(settings, device))
        direct: DirectTransport | None = None
        if mode is TransportMode.DIRECT:
            # Without a usable folder there is no Unix socket, and TCP is left.
            own = DirectSettings(settings, "127.0.0.1", 0, Path("/proc/no/folder"))
            direct = await stack.enter_async_context(DirectTransport.open(device, "boot", own))
        processor = await stack.enter_async_context(Processor.open())
        clock = stack.enter_context(ProcessingClock())
        group = await stack.enter_async_context(asyncio.TaskGroup())
        switch = TransportSwitch(broker, direct, mode)
        outbox, ledger, attempts = Outbox(device, control), TransferLedger(device), AttemptTracker()
        admission = Admission(64, 512 * 1024 * 1024)
        lane = LaneSender(device, switch, ledger, LANE_BYTES)
        sender = Sender(device, switch, ledger, outbox, attempts)
        worker = TileWorker(index, has_lane, lane, sender, processor, admission, group)
        receiver = LaneReceiver(
            device,
            inputs=InputAssembler(),
            attempts=attempts,
            admission=admission,
            outbox=outbox,
            processing=clock,
            group=group,
            on_complete=worker.on_complete,
        )
        tasks = [group.create_task(part.run()) for part in (outbox, sender)]
        ways: list[BrokerTransport | DirectTransport] = [broker, *([] if direct is None else [direct])]
        for way in ways:
            way.take_now = receiver.take_now
            inbox = Inbox(
                device,
                way,
                load_registry(),
                outbox,
                # Its routes have no tiles: a volume of the model is a stage of this worker.
                worker.take_rows,
                worker.admit_now,
                worker.admit,
                receiver.take,
                clock,
            )
            tasks.append(group.create_task(inbox.run()))
        await _meet(control, worker, broker, direct)
        tasks.append(group.create_task(_take_receipts(control, ledger)))
        if direct is not None:
            tasks.append(group.create_task(_take_answers(direct, ledger)))
        yield worker
        for task in tasks:
            task.cancel()


async def _meet(
    control: Connection, worker: TileWorker, broker: BrokerTransport, direct: DirectTransport | None
) -> None:
    """Exchange presences with the other devices, and connect to them."""
    device = DEVICES[worker.index]
    for topic in (topics.presence.any, topics.receipts(device)):
        await control.subscribe(topic)
    own = Presence(
        device=device,
        state=State.ONLINE,
        boot_id="boot",
        transports=(LANE,),
        direct=None if direct is None else direct.access,
    )
    await control.publish(topics.presence(device), own.encode(), retain=True)
    waiting = set(DEVICES) - {device}
    async with asyncio.timeout(_WAIT_S):
        while waiting:
            presence = Presence.decode(bytes((await anext(control)).payload))
            if presence.device in waiting:
                waiting.discard(presence.device)
                worker.lane.learn(presence)
                if direct is not None:
                    direct.learn(presence)
        for other in set(DEVICES) - {device}:
            if direct is not None and not await direct.connected(other):
                raise RuntimeError(f"no direct connection from {device} to {other}")
            # Empty, as from `check_inbox`: the first message on a topic is one that the broker answers.
            await broker.connection.publish(topics.inbox(other), b"")


async def _take_receipts(control: Connection, ledger: TransferLedger) -> None:
    async for received in control:
        if not received.topic.endswith("/receipts"):
            continue
        receipt = Receipt.decode(bytes(received.payload))
        ledger.received(receipt.transfer_id, receipt.receiver, time.monotonic(), processing_ms=receipt.processing_ms)


async def _take_answers(direct: DirectTransport, ledger: TransferLedger) -> None:
    async for answer in direct.answers():
        if isinstance(answer, DirectReceipt):
            ledger.received(answer.transfer_id, answer.receiver, answer.at_s, processing_ms=answer.processing_ms)


async def work(arguments: list[str]) -> dict[str, Any]:
    """Run one device as the command line says, and return its measurements."""
    index, settings = int(arguments[0]), BusSettings.from_address(arguments[1])
    mode, has_lane, count = TransportMode(arguments[2]), arguments[3] == "lane", int(arguments[4])
    keep_large_buffers()
    async with opened(index, settings, mode, has_lane) as worker:
        print("ready", flush=True)
        while (await asyncio.to_thread(sys.stdin.readline)).strip() == "go":
            worker.latency_ms.clear()
            worker.total_ms.clear()
            if index == 0:
                await worker.run(count)
                print("done", flush=True)
        return {"total_ms": worker.total_ms, "latency_ms": worker.latency_ms}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(work(sys.argv[1:]))), flush=True)
