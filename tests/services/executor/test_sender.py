"""Sends over real sessions with a broker, on an emulated link."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import numpy as np
import pytest

from broker.embedded import EmbeddedBroker
from services.executor.feature_maps import decode_feature_map, encode_tensors
from services.executor.outbox import Outbox
from services.executor.segments.coding import Coder
from services.executor.segments.engine import EngineSettings
from services.executor.sender import AttemptTracker, Sender
from services.executor.transfers import TransferLedger
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.feature_maps.emulation import ShapedTransport
from shared.bus.feature_maps.link_schedule import LinkRate
from shared.bus.feature_maps.transport import BrokerTransport
from shared.codecs import RAW, load_registry
from shared.messages.requests import FeatureMapHeader
from shared.messages.streams import PlanStage

CODER = Coder(load_registry(), EngineSettings())


def header(name: str, attempt: int = 1) -> FeatureMapHeader:
    return FeatureMapHeader(
        transfer_id="",
        sender="me",
        request_id=name,
        stream="s",
        model="0" * 64,
        epoch=1,
        attempt=attempt,
        stages=(PlanStage(start=0, stop=1, device="peer"),),
        stage=0,
        tensors=(),
        source="me",
        accepted_at_s=0.0,
        dispatched_at_s=0.0,
    )


@dataclass
class Link:
    """A sender, who receives at the other end of a link, and who hears every chunk."""

    sender: Sender
    ear: Connection
    peer: BrokerTransport

    async def put(self, name: str, size_bytes: int, attempt: int = 1) -> None:
        tensors = encode_tensors({"x": np.zeros(size_bytes, np.uint8)}, RAW, CODER)
        await self.sender.put(header(name, attempt), tensors)

    async def arrived(self) -> str:
        return decode_feature_map((await anext(self.peer)).buffer, CODER.registry).header.request_id


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    async with AsyncExitStack() as stack:
        settings = (await stack.enter_async_context(EmbeddedBroker())).settings
        control = await stack.enter_async_context(Connection.open(settings))
        ear = await stack.enter_async_context(Connection.open(settings))
        await ear.subscribe(topics.inbox("peer"))
        inner = await stack.enter_async_context(BrokerTransport.open(settings, "me", chunk_bytes=1000))
        peer = await stack.enter_async_context(BrokerTransport.open(settings, "peer"))
        transport = ShapedTransport(inner, {"peer": LinkRate(bandwidth_mbps=1.0)})
        outbox = Outbox("me", control)
        sender = Sender("me", transport, TransferLedger("me"), outbox, AttemptTracker())
        async with asyncio.TaskGroup() as group:
            task = group.create_task(sender.run())
            yield Link(sender, ear, peer)
            task.cancel()


async def test_what_is_answered_does_not_hold_up_what_comes_after_it(link: Link) -> None:
    for attempt in range(1, 9):
        await link.put("large", 5_000_000, attempt)
    await link.put("small", 100)
    async with asyncio.timeout(30):
        await anext(link.ear)
        link.sender.cancel("s", "large")
        assert await link.arrived() == "small"
        await link.sender.drain()


async def test_another_request_s_answer_stops_nothing(link: Link) -> None:
    await link.put("a", 100)
    link.sender.cancel("s", "b")
    link.sender.cancel("t", "a")
    assert await link.arrived() == "a"


def test_an_attempt_is_stale_once_a_newer_one_was_here() -> None:
    attempts = AttemptTracker()
    assert not attempts.note("s", "a", 2)
    assert not attempts.note("s", "a", 1)
    assert attempts.is_stale("s", "a", 1)
    assert not attempts.is_stale("s", "a", 2)
    assert not attempts.is_stale("s", "b", 1)
    assert attempts.note("s", "a", 3)
