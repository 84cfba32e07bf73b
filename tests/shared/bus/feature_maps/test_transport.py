"""The way of feature maps through the broker, beyond what the contract tests cover."""

import asyncio
import logging

import pytest

from broker.mosquitto import MosquittoBroker
from broker.process import BrokerProcess
from shared.bus import topics
from shared.bus.chunks import MAX_CHUNKS, Reassembler, split_message
from shared.bus.connection import Connection
from shared.bus.errors import PublishFailed
from shared.bus.feature_maps.emulation import ShapedTransport
from shared.bus.feature_maps.link_schedule import LinkRate
from shared.bus.feature_maps.transport import BrokerTransport, Delivery
from shared.bus.frame import encode_frame
from tests.shared.bus.conftest import BrokerKind, broker_parameters

WAIT_S = 20.0


async def next_of(transport: BrokerTransport) -> Delivery:
    async with asyncio.timeout(WAIT_S):
        return await anext(transport)


async def test_garbage_in_the_inbox_is_counted_logged_once_and_passed_over(
    embedded: BrokerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        BrokerTransport.open(embedded.settings, "pi") as sender,
        BrokerTransport.open(embedded.settings, "server") as receiver,
        Connection.open(embedded.settings) as stranger,
    ):
        with caplog.at_level(logging.WARNING, "shared.bus.feature_maps.transport"):
            for _ in range(5):
                await stranger.publish(topics.inbox("server"), b"\x01")
            await sender.send("server", [b"a frame"])
            assert bytes((await next_of(receiver)).buffer) == b"a frame"
        assert receiver.counters.undecodable == 5
        assert len(caplog.records) == 1


async def test_two_senders_at_once_are_kept_apart(embedded: BrokerProcess) -> None:
    async with (
        BrokerTransport.open(embedded.settings, "pi", chunk_bytes=1000) as pi,
        BrokerTransport.open(embedded.settings, "jetson", chunk_bytes=1000) as jetson,
        BrokerTransport.open(embedded.settings, "server") as server,
    ):
        async with asyncio.TaskGroup() as group:
            group.create_task(pi.send("server", encode_frame({"from": "pi"}, [b"p" * 50_000])))
            group.create_task(jetson.send("server", encode_frame({"from": "jetson"}, [b"j" * 50_000])))
            deliveries = [await next_of(server), await next_of(server)]
        assert {delivery.sender: bytes(delivery.buffer[-1:]) for delivery in deliveries} == {"pi": b"p", "jetson": b"j"}


async def test_sends_of_one_device_arrive_in_order(embedded: BrokerProcess) -> None:
    async with (
        BrokerTransport.open(embedded.settings, "pi", chunk_bytes=100) as pi,
        BrokerTransport.open(embedded.settings, "server") as server,
    ):
        sending = [asyncio.ensure_future(pi.send("server", [bytes([n]) * (1000 - n)])) for n in range(10)]
        assert [(await next_of(server)).size_bytes for _ in sending] == [1000 - n for n in range(10)]
        await asyncio.gather(*sending)
        assert (pi.counters.sent, server.counters.delivered) == (10, 10)
        assert pi.counters.sent_bytes == server.counters.delivered_bytes


async def test_a_message_survives_a_broker_crash_in_the_middle(embedded: BrokerProcess) -> None:
    halfway, go_on = asyncio.Event(), asyncio.Event()

    async def pace(passed_bytes: int) -> None:
        if passed_bytes > 50_000:
            halfway.set()
            await go_on.wait()

    async with (
        BrokerTransport.open(embedded.settings, "pi", chunk_bytes=10_000) as pi,
        BrokerTransport.open(embedded.settings, "server") as server,
        asyncio.timeout(WAIT_S),
    ):
        receiving = asyncio.ensure_future(anext(server))
        sending = asyncio.ensure_future(pi.send("server", [b"x" * 100_000], pace=pace))
        await halfway.wait()
        while server.connection.counters.received < 4:
            await pi.connection.publish("events", b"one round trip")
        await embedded.kill()
        await embedded.start()
        await server.connection.wait_connected(WAIT_S)
        go_on.set()
        await sending
        second = asyncio.ensure_future(pi.send("server", [b"y"]))
        delivery = await receiving
        assert bytes(delivery.buffer) in (b"x" * 100_000, b"y")
        await second


async def test_a_broker_that_stays_away_fails_the_send(embedded: BrokerProcess) -> None:
    async with BrokerTransport.open(embedded.settings, "pi", chunk_bytes=10, send_timeout_s=0.3) as pi:
        await embedded.kill()
        with pytest.raises(PublishFailed):
            await pi.send("server", [bytes(100)])
        with pytest.raises(PublishFailed):
            await pi.send("server", [bytes(5)])
        assert pi.counters.sent == 0


async def test_incomplete_messages_are_given_up(embedded: BrokerProcess) -> None:
    async with (
        BrokerTransport.open(embedded.settings, "server", reassembler=Reassembler(timeout_s=0.0)) as server,
        Connection.open(embedded.settings) as stranger,
    ):
        first, *_ = split_message(b"id", [bytes(100)], 10, sender="pi")
        await stranger.publish(topics.inbox("server"), first)
        whole = next(split_message(b"other", [b"whole"], 10))
        await stranger.publish(topics.inbox("server"), whole)
        assert bytes((await next_of(server)).buffer) == b"whole"
        assert server.counters.expired == 1


async def test_an_emulated_link_delays_a_real_message(embedded: BrokerProcess) -> None:
    async with (
        BrokerTransport.open(embedded.settings, "pi", chunk_bytes=10_000) as pi,
        BrokerTransport.open(embedded.settings, "server") as server,
    ):
        shaped = ShapedTransport(pi, {"server": LinkRate(bandwidth_mbps=16.0, latency_ms=10.0)})
        sending = asyncio.ensure_future(shaped.send("server", [bytes(100_000)]))
        delivery = await next_of(server)
        sent = await sending
        assert delivery.completed_at_s - sent.started_at_s >= 0.060 - 1e-6
        # The first chunk comes early: a receiver can estimate the bandwidth from the rest.
        assert delivery.first_chunk_bytes == 10_000
        assert delivery.completed_at_s > delivery.first_chunk_at_s


@pytest.mark.parametrize("kind", broker_parameters(BrokerKind.MOSQUITTO))
async def test_a_broker_with_small_packets_gets_small_chunks(kind: BrokerKind) -> None:
    assert kind.is_mosquitto
    async with (
        MosquittoBroker(max_packet_bytes=5000) as broker,
        BrokerTransport.open(broker.settings, "pi") as pi,
        BrokerTransport.open(broker.settings, "server") as server,
    ):
        for size_bytes in (4000, 4880, 4900, 5000, 100_000):
            frame = bytes(range(250)) * (size_bytes // 250)
            await pi.send("server", [frame])
            delivery = await next_of(server)
            assert bytes(delivery.buffer) == frame
            assert 3500 < delivery.first_chunk_bytes < 5000
        with pytest.raises(PublishFailed, match=rf"at most {MAX_CHUNKS} chunks of \d+"):
            await pi.send("server", [bytes(5000 * MAX_CHUNKS)])
        # A message that is not cut: refused by the client, which stays connected.
        topic = topics.events()
        limit_bytes = pi.connection.payload_limit_bytes(topic)
        with pytest.raises(PublishFailed, match=rf"{limit_bytes + 1} bytes, .* at most 5000 bytes"):
            await pi.connection.publish(topic, bytes(limit_bytes + 1))
        await pi.connection.publish(topic, bytes(limit_bytes))
        assert pi.connection.counters.reconnects == server.connection.counters.reconnects == 0


@pytest.mark.parametrize("kind", broker_parameters(BrokerKind.MOSQUITTO))
async def test_a_broker_whose_packets_hold_no_slice_refuses_every_frame(kind: BrokerKind) -> None:
    assert kind.is_mosquitto
    async with MosquittoBroker(max_packet_bytes=100) as broker, BrokerTransport.open(broker.settings, "pi") as pi:
        with pytest.raises(PublishFailed, match="1000 bytes, the broker accepts at most 8192 chunks of 0"):
            await pi.send("server", [bytes(1000)])


async def test_chunks_of_any_size_are_reassembled(embedded: BrokerProcess) -> None:
    async with (
        BrokerTransport.open(embedded.settings, "server") as server,
        BrokerTransport.open(embedded.settings, "old", chunk_bytes=512 * 1024) as old,
        BrokerTransport.open(embedded.settings, "new", chunk_bytes=4 * 1024 * 1024) as new,
    ):
        frame = bytes(range(256)) * 20_000
        for sender, first_chunk_bytes in ((old, 512 * 1024), (new, 4 * 1024 * 1024)):
            await sender.send("server", [frame])
            delivery = await next_of(server)
            assert (bytes(delivery.buffer), delivery.first_chunk_bytes) == (frame, first_chunk_bytes)
