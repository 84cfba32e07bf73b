"""The inbox at the end of a real transport; the test plays the sender and the pipeline."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from broker.embedded import EmbeddedBroker
from services.executor.feature_maps import FeatureMap, encode_feature_map, encode_tensors
from services.executor.inbox import Inbox
from services.executor.outbox import Outbox
from services.executor.segments.coding import Coder
from services.executor.segments.engine import EngineSettings
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.errors import DecodeError
from shared.bus.feature_maps.transport import BrokerTransport, Delivery
from shared.codecs import RAW, load_registry
from shared.lane.lane_messages import encode_table
from shared.messages.devices import Receipt
from shared.messages.requests import FeatureMapHeader
from shared.messages.streams import PlanStage
from shared.processing_clock import ProcessingClock

CODER = Coder(load_registry(), EngineSettings())


@dataclass
class Bench:
    """The inbox of `me`, and its peer, who hears the receipts."""

    outbox: Outbox
    peer: BrokerTransport
    ear: Connection
    admitted: list[FeatureMap] = field(default_factory=list)
    rows: list[FeatureMap] = field(default_factory=list)
    on_the_lane: list[bytes] = field(default_factory=list)
    has_room: asyncio.Event = field(default_factory=asyncio.Event)

    def admit_now(self, feature_map: FeatureMap) -> bool:
        if self.has_room.is_set():
            self.admitted.append(feature_map)
        return self.has_room.is_set()

    def take_rows(self, feature_map: FeatureMap) -> None:
        self.rows.append(feature_map)

    async def admit(self, feature_map: FeatureMap) -> None:
        await self.has_room.wait()
        self.admitted.append(feature_map)

    async def take_lane(self, delivery: Delivery) -> None:
        self.on_the_lane.append(bytes(delivery.buffer))
        raise DecodeError("rows of an unknown table")

    async def send(self, transfer_id: str, **changes: Any) -> None:
        header = FeatureMapHeader(
            transfer_id=transfer_id,
            sender="peer",
            request_id="r",
            stream="s",
            model="0" * 64,
            epoch=1,
            attempt=1,
            stages=(PlanStage(start=0, stop=1, device="peer"), PlanStage(start=1, stop=2, device="me")),
            stage=1,
            tensors=(),
            source="peer",
            accepted_at_s=0.0,
            dispatched_at_s=0.0,
        ).model_copy(update=changes)
        tensors = encode_tensors({"x": np.ones(4, np.float32)}, RAW, CODER)
        await self.peer.send("me", encode_feature_map(header, tensors))

    async def receipt(self) -> Receipt:
        return Receipt.decode((await anext(self.ear)).payload)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        settings = (await stack.enter_async_context(EmbeddedBroker())).settings
        ear = await stack.enter_async_context(Connection.open(settings))
        await ear.subscribe(topics.receipts("peer"))
        control = await stack.enter_async_context(Connection.open(settings))
        transport = await stack.enter_async_context(BrokerTransport.open(settings, "me"))
        peer = await stack.enter_async_context(BrokerTransport.open(settings, "peer"))
        processing = stack.enter_context(ProcessingClock())
        processing.sample(time.monotonic())
        opened = Bench(Outbox("me", control), peer, ear)
        inbox = Inbox(
            "me",
            transport,
            CODER.registry,
            opened.outbox,
            opened.take_rows,
            opened.admit_now,
            opened.admit,
            opened.take_lane,
            processing,
        )
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            task = group.create_task(inbox.run())
            yield opened
            task.cancel()


async def test_a_feature_map_is_acknowledged_before_it_waits_for_room(bench: Bench) -> None:
    await bench.send("t")
    receipt = await bench.receipt()
    assert (receipt.transfer_id, receipt.receiver) == ("t", "me")
    assert 0 < receipt.processing_ms < 60_000, "receiving takes processor time"
    assert bench.admitted == []
    bench.has_room.set()
    await bench.send("u")
    assert (await bench.receipt()).transfer_id == "u"
    # With room it is admitted before its receipt.
    assert [feature_map.header.transfer_id for feature_map in bench.admitted] == ["t", "u"]


@pytest.mark.parametrize("changes", [{"stage": 0}, {"stage": 2}, {"model": "no hash"}])
async def test_what_is_not_for_this_device_is_counted_and_the_next_is_received(
    bench: Bench, changes: dict[str, Any]
) -> None:
    bench.has_room.set()
    await bench.send("t", **changes)
    await bench.peer.send("me", [b"no frame at all"])
    await bench.send("u")
    assert (await bench.receipt()).transfer_id == "u"
    assert bench.outbox.bad_messages == 2


async def test_a_message_of_the_lane_is_judged_there_and_what_it_refuses_is_counted(bench: Bench) -> None:
    bench.has_room.set()
    message = encode_table(7, b"a header of a feature map")
    await bench.peer.send("me", [message])
    await bench.send("t")
    assert (await bench.receipt()).transfer_id == "t"
    assert bench.on_the_lane == [message]
    assert bench.outbox.bad_messages == 1
