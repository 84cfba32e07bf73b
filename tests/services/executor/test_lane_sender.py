"""The sending end of the lane over a real broker; the receiver is the test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from broker.embedded import EmbeddedBroker
from services.executor.lane_sender import LANE_BYTES, LaneSender
from services.executor.transfers import TransferLedger
from shared.bus.feature_maps.emulation import ShapedTransport
from shared.bus.feature_maps.transport import BrokerTransport, Delivery
from shared.lane.input_assembly import InputAssembler, InputKey
from shared.lane.lane_messages import RowsMessage, TableMessage, decode_lane_message, is_lane_message
from shared.lane.lane_tables import ReceivedTables
from shared.lane.stage_records import unpack_records
from shared.messages.devices import LANE, Presence, State
from shared.messages.requests import FeatureMapHeader, StageTrace
from shared.transport_mode import Carrier
from tests.support.short_stages import header, same

TENSORS: dict[str, np.ndarray] = {
    "x": np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4),
    "y": np.arange(5, dtype=np.int64),
}
COMPUTED = StageTrace(device="pi", start=0, stop=1, received_at_s=100.0, compute_ms=1.0)


def presence(*transports: str, **changes: Any) -> Presence:
    given: dict[str, Any] = {"device": "server", "state": State.ONLINE, "boot_id": "boot", "transports": transports}
    return Presence(**given | changes)


def computed(**changes: Any) -> FeatureMapHeader:
    """The header behind a first stage that ran on this device."""
    return header(trace=(COMPUTED,), **changes)


@dataclass
class Bench:
    """The sender of `pi`, and the transport of `server`."""

    lane: LaneSender
    ledger: TransferLedger
    transport: BrokerTransport
    server: BrokerTransport

    async def arrived(self) -> TableMessage | RowsMessage:
        async with asyncio.timeout(30):
            delivery = await anext(self.server)
            assert delivery.sender == "pi"
            return decode_lane_message(delivery.buffer)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        settings = (await stack.enter_async_context(EmbeddedBroker())).settings
        transport = await stack.enter_async_context(BrokerTransport.open(settings, "pi"))
        server = await stack.enter_async_context(BrokerTransport.open(settings, "server"))
        ledger = TransferLedger("pi")
        opened = Bench(LaneSender("pi", transport, ledger, LANE_BYTES), ledger, transport, server)
        opened.lane.learn(presence("mqtt", LANE))
        # The first message on a topic has to be one that the broker answers.
        await transport.send("server", [b"a frame"])
        assert bytes((await anext(server)).buffer) == b"a frame"
        yield opened


async def test_a_table_goes_before_the_first_rows_and_not_before_the_next(bench: Bench) -> None:
    for name in ("r1", "r2"):
        assert bench.lane.send(computed(request_id=name), TENSORS)
    table, *rows = [await bench.arrived() for _ in range(3)]
    assert isinstance(table, TableMessage)
    tables = ReceivedTables("server")
    tables.learn("pi", table)
    layout = tables.find("pi", table.number).layout
    for name, message in zip(("r1", "r2"), rows, strict=True):
        assert isinstance(message, RowsMessage)
        assert (message.table, message.facts.request_id) == (table.number, name)
        complete = InputAssembler().take(InputKey.of("s", 1, message.facts), layout, message, 0.0)
        assert complete is not None
        assert same(complete.tensors, TENSORS)
        (record,) = unpack_records(message.records)
        assert (record.stage, record.compute_ms, record.carrier) == (0, 1.0, Carrier.MQTT)
        assert record.output_bytes == sum(array.nbytes for array in TENSORS.values())
        assert record.sent_at_s is not None


async def test_one_message_in_a_while_is_measured(bench: Bench) -> None:
    for number in range(3):
        assert bench.lane.send(computed(request_id=f"r{number}"), TENSORS)
    await bench.arrived()
    rows = [await bench.arrived() for _ in range(3)]
    measured = [message.measurement for message in rows if isinstance(message, RowsMessage)]
    assert measured[0] > 0
    assert measured[1:] == [0, 0]
    assert len(bench.ledger) == 1
    assert bench.ledger.received(f"lane-{measured[0]}", "server", 1e9) is not None


async def test_what_the_lane_does_not_carry_is_left_to_frames(bench: Bench) -> None:
    send, learn = bench.lane.send, bench.lane.learn
    assert not send(computed(), {"x": np.zeros(LANE_BYTES + 1, np.uint8)})
    assert not send(computed(), {"x": np.zeros((0, 4), np.uint8)})
    assert not send(header(), TENSORS), "nothing was computed here"
    assert not send(computed(correlation_data=bytes(300_000)), TENSORS)
    for gone in (presence("mqtt"), presence("mqtt", LANE, state=State.OFFLINE)):
        learn(gone)
        assert not send(computed(), TENSORS)
    learn(presence("mqtt", LANE))
    assert send(computed(), TENSORS)
    assert not LaneSender("pi", bench.transport, bench.ledger, 0).send(computed(), TENSORS)


async def test_a_restarted_receiver_gets_the_table_again(bench: Bench) -> None:
    for boot_id in ("boot", "later"):
        bench.lane.learn(presence("mqtt", LANE, boot_id=boot_id))
        assert bench.lane.send(computed(), TENSORS)
        assert isinstance(await bench.arrived(), TableMessage)
        assert isinstance(await bench.arrived(), RowsMessage)
    assert bench.lane.lost("server") == [], "the broker loses nothing with a connection"
    assert bench.lane.send(computed(), TENSORS)
    assert isinstance(await bench.arrived(), TableMessage)


async def test_nothing_is_sent_before_the_broker_has_allowed_it_or_past_an_emulated_link(bench: Bench) -> None:
    assert not bench.transport.send_now("unknown", [b"x"])
    shaped = LaneSender("pi", ShapedTransport(bench.transport, {}), bench.ledger, LANE_BYTES)
    shaped.learn(presence("mqtt", LANE))
    assert not shaped.send(computed(), TENSORS)
    assert len(bench.ledger) == 0


async def test_a_transport_hands_a_message_over_at_once_or_leaves_it_to_its_reader(bench: Bench) -> None:
    taken: list[bytes] = []

    def take_rows(delivery: Delivery) -> bool:
        if is_lane_message(delivery.buffer):
            taken.append(bytes(delivery.buffer))
        return is_lane_message(delivery.buffer)

    bench.server.take_now = take_rows
    assert bench.lane.send(computed(), TENSORS)
    await bench.transport.send("server", [b"a frame"])
    async with asyncio.timeout(30):
        assert bytes((await anext(bench.server)).buffer) == b"a frame"
    assert len(taken) == 2
