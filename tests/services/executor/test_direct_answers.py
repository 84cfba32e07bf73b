"""Receipts and losses on real direct connections; a broker carries what is told of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from broker.embedded import EmbeddedBroker
from services.executor.direct_answers import DirectAnswers
from services.executor.direct_probes import DirectProbes
from services.executor.lane_sender import LANE_BYTES, LaneSender
from services.executor.observations import ObservationFeed
from services.executor.outbox import Outbox
from services.executor.transfers import TransferLedger
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.feature_maps.transport import BrokerTransport
from shared.direct.direct_settings import DirectSettings
from shared.direct.direct_transport import DirectTransport
from shared.direct.transport_switch import TransportSwitch
from shared.lane.lane_messages import RowsMessage, decode_lane_message
from shared.messages.devices import LANE, OBSERVATIONS, Presence, Receipt, State, TransferObservation
from shared.messages.requests import FeatureMapHeader, StageTrace
from shared.messages.streams import PlanStage
from shared.processing_clock import ProcessingClock
from shared.transport_mode import Carrier, TransportMode
from tests.support.short_stages import header


@dataclass
class Bench:
    """`me`, which is connected to `peer`, and an ear on the broker."""

    me: DirectTransport
    peer: DirectTransport
    ledger: TransferLedger
    lane: LaneSender
    ear: Connection

    async def send(self, transfer_id: str) -> None:
        """Send a frame, and wait until the peer has it."""
        header = FeatureMapHeader(
            transfer_id=transfer_id,
            sender="me",
            request_id=transfer_id,
            stream="s",
            model="0" * 64,
            epoch=1,
            attempt=2,
            stages=(PlanStage(start=0, stop=1, device="peer"),),
            stage=0,
            tensors=(),
            source="camera",
            accepted_at_s=0.0,
            dispatched_at_s=0.0,
        )
        now_s = asyncio.get_running_loop().time()
        self.ledger.started(transfer_id, "peer", 5, now_s, Carrier.DIRECT, header)
        sent = await self.me.send("peer", [b"frame"])
        self.ledger.sent(transfer_id, sent.started_at_s, sent.carrier)
        acknowledge = (await anext(self.peer)).acknowledge
        assert acknowledge is not None
        if transfer_id == "acknowledged":
            acknowledge(transfer_id, 0.0)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        bus = (await stack.enter_async_context(EmbeddedBroker())).settings
        control = await stack.enter_async_context(Connection.open(bus))
        ear = await stack.enter_async_context(Connection.open(bus))
        for topic in (topics.receipts("camera"), topics.observations("me")):
            await ear.subscribe(topic)
        settings = DirectSettings(bus, socket_folder=tmp_path / "sockets")
        me, peer = [
            await stack.enter_async_context(DirectTransport.open(name, "boot", settings)) for name in ("me", "peer")
        ]
        online = Presence(
            device="peer", state=State.ONLINE, boot_id="boot", direct=peer.access, transports=("direct", LANE)
        )
        me.learn(online)
        assert await me.connected("peer")
        ledger, outbox = TransferLedger("me"), Outbox("me", control)
        broker = await stack.enter_async_context(BrokerTransport.open(bus, "me"))
        switch = TransportSwitch(broker, me, TransportMode.AUTO)
        clock = stack.enter_context(ProcessingClock())
        lane = LaneSender("me", switch, ledger, LANE_BYTES)
        lane.learn(online)
        async with asyncio.TaskGroup() as group:
            probes = DirectProbes(me, switch, None, outbox, clock, group)
            answers = DirectAnswers(me, ledger, ObservationFeed(outbox), outbox, probes, lane)
            task = group.create_task(answers.run())
            yield Bench(me, peer, ledger, lane, ear)
            task.cancel()


async def test_a_receipt_becomes_an_observation_of_the_direct_link(bench: Bench) -> None:
    await bench.send("acknowledged")
    received = await anext(bench.ear)
    observation = OBSERVATIONS.decode(bytes(received.payload))
    assert isinstance(observation, TransferObservation)
    assert (observation.target, observation.transport, observation.finished) == ("peer", Carrier.DIRECT, True)
    assert len(bench.ledger) == 0


async def test_the_source_of_a_transfer_that_was_lost_is_told(bench: Bench) -> None:
    await bench.send("lost")
    for channel in bench.peer._listener.channels:
        channel.close("the test ends it")
    receipt = Receipt.decode((await anext(bench.ear)).payload)
    assert receipt.receiver == "peer"
    assert receipt.refused is not None
    assert (receipt.refused.stream, receipt.refused.request_id, receipt.refused.attempt) == ("s", "lost", 2)
    assert receipt.refused.reason == "the direct connection of me to peer ended"
    assert len(bench.ledger) == 0


async def test_the_sources_of_what_was_lost_on_the_lane_are_told_but_not_of_what_came_before_a_receipt(
    bench: Bench,
) -> None:
    for name in ("before", "lost", "lost", "last"):
        route = tuple(PlanStage(start=k, stop=k + 1, device=device) for k, device in enumerate(("me", "peer")))
        computed = StageTrace(device="me", start=0, stop=1, received_at_s=1.0)
        sent = header(request_id=name, stages=route, source="camera", trace=(computed,), attempt=2)
        assert bench.lane.send(sent, {"x": np.ones((1, 2, 3, 4), np.float32)})
        if name == "before":
            # The table, and the first rows, which are measured.
            rows = [await anext(bench.peer) for _ in range(2)][1]
            message = decode_lane_message(rows.buffer)
            assert isinstance(message, RowsMessage)
            assert rows.acknowledge is not None
            rows.acknowledge(f"lane-{message.measurement}", 0.0)
            observation = OBSERVATIONS.decode(bytes((await anext(bench.ear)).payload))
            assert isinstance(observation, TransferObservation)
    for channel in bench.peer._listener.channels:
        channel.close("the test ends it")
    for name in ("lost", "last"):
        refused = Receipt.decode((await anext(bench.ear)).payload).refused
        assert refused is not None
        assert (refused.stream, refused.request_id, refused.attempt) == ("s", name, 2)
    assert bench.lane.lost("peer") == []
