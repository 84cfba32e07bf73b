"""The receiving end of the lane, between real messages and a real broker; complete inputs end in a list."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from broker.embedded import EmbeddedBroker
from services.executor.admission import Admission
from services.executor.lane_receiver import LaneReceiver
from services.executor.outbox import Outbox
from services.executor.sender import AttemptTracker
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.errors import DecodeError
from shared.bus.feature_maps.transport import Delivery
from shared.codecs.spec import as_bytes
from shared.lane.input_assembly import CompleteInput, InputAssembler
from shared.lane.lane_messages import Piece, RowsMessage, encode_rows
from shared.lane.lane_tables import ReceivedTable, SentTables, tensors_of
from shared.messages.base import MessageError
from shared.messages.devices import Receipt
from shared.processing_clock import ProcessingClock
from tests.support.short_stages import FACTS, header, joined, same

FEATURES = np.arange(2 * 8 * 5, dtype=np.float32).reshape(1, 2, 8, 5)
ROWS = 8
MAX_TASKS = 2


@dataclass
class Bench:
    """The receiver of `server`, whose inputs come from `pi` and others."""

    admission: Admission
    ear: Connection
    receiver: LaneReceiver = field(init=False)
    complete: list[tuple[str, CompleteInput]] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    _tables: dict[str, SentTables] = field(default_factory=dict)

    def take_complete(self, table: ReceivedTable, message: RowsMessage, complete: CompleteInput) -> None:
        self.complete.append((f"{message.facts.request_id}/{message.facts.attempt}", complete))
        self.admission.leave(table.layout.size_bytes)

    def acknowledge(self, transfer_id: str, processing_ms: float) -> None:
        assert processing_ms >= 0
        self.acknowledged.append(transfer_id)

    def delivery(self, data: bytes | memoryview, sender: str = "pi") -> Delivery:
        now_s = time.monotonic()
        return Delivery(memoryview(data), sender, now_s, now_s, len(data), len(data), self.acknowledge)

    def messages(
        self, name: str, top: int = 0, bottom: int = ROWS, *, attempt: int = 1, sender: str = "pi", measurement: int = 0
    ) -> list[Delivery]:
        """A table and rows."""
        tables = self._tables.setdefault(sender, SentTables(sender, 0))
        table = tables.table(header(sender=sender), tensors_of({"x": FEATURES}))
        facts = replace(FACTS, request_id=name, attempt=attempt)
        pieces = [(Piece(0, top, bottom), as_bytes(FEATURES[:, :, top:bottom]))]
        rows = encode_rows(table.number, facts, time.monotonic(), b"", pieces, measurement=measurement)
        return [self.delivery(table.message, sender), self.delivery(joined(rows), sender)]

    def send(self, *args: Any, **settings: Any) -> bool:
        """Deliver as a transport does; return whether the rows were taken at once."""
        table, rows = self.messages(*args, **settings)
        assert self.receiver.take_now(table)
        return self.receiver.take_now(rows)

    async def is_empty(self) -> bool:
        async with asyncio.timeout(30):
            await self.admission.drain()
        return True


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        settings = (await stack.enter_async_context(EmbeddedBroker())).settings
        ear = await stack.enter_async_context(Connection.open(settings))
        await ear.subscribe(topics.receipts("pi"))
        outbox = Outbox("server", await stack.enter_async_context(Connection.open(settings)))
        processing = stack.enter_context(ProcessingClock())
        processing.sample(time.monotonic())
        group = await stack.enter_async_context(asyncio.TaskGroup())
        opened = Bench(Admission(MAX_TASKS, 10**6), ear)
        opened.receiver = LaneReceiver(
            "server",
            inputs=InputAssembler(),
            attempts=AttemptTracker(),
            admission=opened.admission,
            outbox=outbox,
            processing=processing,
            group=group,
            on_complete=opened.take_complete,
        )
        yield opened


async def test_rows_of_several_senders_make_one_input(bench: Bench) -> None:
    assert bench.send("r", 0, 3)
    assert bench.send("r", 0, 3), "a duplicate"
    assert bench.complete == []
    assert bench.send("r", 3, ROWS, sender="other")
    assert bench.send("r", 3, ROWS, sender="other"), "a late duplicate"
    ((name, complete),) = bench.complete
    assert name == "r/1"
    assert same(complete.tensors, {"x": FEATURES})
    assert await bench.is_empty()


async def test_a_message_that_has_no_room_waits_and_rows_of_a_begun_input_do_not(bench: Bench) -> None:
    for number in range(MAX_TASKS):
        assert bench.send(f"begun{number}", 0, 3)
    assert not bench.send("late")
    waiting = asyncio.ensure_future(bench.receiver.take(bench.messages("late")[1]))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert bench.send("begun0", 3, ROWS)
    async with asyncio.timeout(30):
        await waiting
    assert [name for name, _ in bench.complete] == ["begun0/1", "late/1"]
    assert bench.send("begun1", 3, ROWS)
    assert await bench.is_empty()


async def test_rows_that_waited_for_room_join_an_input_that_has_begun_meanwhile(bench: Bench) -> None:
    for number in range(MAX_TASKS):
        assert bench.send(f"begun{number}", 0, 3)
    waiting = [
        asyncio.ensure_future(bench.receiver.take(bench.messages("late", top, bottom)[1]))
        for top, bottom in ((0, 5), (5, ROWS))
    ]
    for number in range(MAX_TASKS):
        assert bench.send(f"begun{number}", 3, ROWS)
    async with asyncio.timeout(30):
        await asyncio.gather(*waiting)
    assert bench.complete[-1][0] == "late/1"
    assert await bench.is_empty()


async def test_a_newer_attempt_gives_the_older_one_up_and_a_stale_one_is_dropped(bench: Bench) -> None:
    assert bench.send("r", 0, 3)
    assert bench.send("r", attempt=2)
    assert [name for name, _ in bench.complete] == ["r/2"]
    assert await bench.is_empty()
    assert bench.send("r", 3, ROWS)
    assert await bench.is_empty(), "its rows begin nothing"


async def test_what_never_becomes_complete_is_given_up(bench: Bench) -> None:
    assert bench.send("r", 0, 3)
    bench.receiver.tick(time.monotonic())
    assert bench.send("r", 3, 4)
    bench.receiver.tick(time.monotonic() + 3600.0)
    assert await bench.is_empty()
    assert bench.complete == []


async def test_a_measured_message_is_acknowledged_on_its_way_or_through_the_broker(bench: Bench) -> None:
    assert bench.send("a")
    assert bench.send("b", measurement=7)
    assert bench.acknowledged == ["lane-7"]
    for delivery in bench.messages("c", measurement=8):
        assert bench.receiver.take_now(replace(delivery, acknowledge=None))
    async with asyncio.timeout(30):
        receipt = Receipt.decode(bytes((await anext(bench.ear)).payload))
    assert (receipt.transfer_id, receipt.receiver) == ("lane-8", "server")


async def test_what_is_refused_holds_no_memory_and_the_next_message_is_taken(bench: Bench) -> None:
    table, rows = bench.messages("r")
    assert bench.receiver.take_now(table)
    elsewhere = SentTables("pi", 50).table(header(stage=2), tensors_of({"x": FEATURES}))
    refused = [
        bench.messages("r", sender="stranger")[1],
        replace(rows, buffer=rows.buffer[:-4]),
        replace(table, sender="mallory"),
        bench.delivery(elsewhere.message),
        bench.delivery(b"SGL1\x07"),
        bench.delivery(b"SGL1"),
    ]
    for delivery in refused:
        assert not bench.receiver.take_now(delivery)
        with pytest.raises((DecodeError, MessageError)):
            await bench.receiver.take(delivery)
    assert not bench.receiver.take_now(bench.delivery(b"\x81 a frame"))
    assert await bench.is_empty()
    assert bench.receiver.take_now(rows)
    assert [name for name, _ in bench.complete] == ["r/1"]


async def test_a_fault_in_the_handling_of_one_message_ends_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(table: ReceivedTable, message: RowsMessage, complete: CompleteInput) -> None:
        bench.take_complete(table, message, complete)
        raise ZeroDivisionError

    monkeypatch.setattr(bench.receiver, "_on_complete", fails)
    assert bench.send("a")
    assert "could not be handled" in caplog.text
    monkeypatch.undo()
    assert bench.send("b")
    assert [name for name, _ in bench.complete] == ["a/1", "b/1"]
