"""The way of feature maps through the broker, beyond what the contract tests cover."""

import asyncio
import logging

import pytest

from broker.process import BrokerProcess
from shared.bus import topics
from shared.bus.chunks import Reassembler, split_message
from shared.bus.connection import Connection
from shared.bus.emulation import ShapedTransport
from shared.bus.errors import PublishFailed
from shared.bus.frame import encode_frame
from shared.bus.link_schedule import LinkRate
from shared.bus.transport import BrokerTransport, Delivery

WAIT_S = 20.0


async def next_of(transport: BrokerTransport | ShapedTransport) -> Delivery:
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
        with caplog.at_level(logging.WARNING, "shared.bus.transport"):
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
