"""What Segue expects of a broker and of its own client, on every broker it supports."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import pytest

from broker.embedded import EmbeddedBroker
from broker.process import BrokerProcess
from shared.bus.connection import Connection, Properties, Received, Will
from shared.bus.errors import AccessRefused, BrokerUnreachable, PublishFailed
from shared.bus.feature_maps.transport import BrokerTransport, Delivery
from shared.bus.frame import decode_frame, encode_frame
from shared.bus.settings import BusSettings

WAIT_S = 20.0

_Item = TypeVar("_Item", Received, Delivery)


async def next_of(messages: AsyncIterator[_Item]) -> _Item:
    async with asyncio.timeout(WAIT_S):
        return await anext(messages)


async def next_with_payload(connection: Connection, payload: bytes) -> Received:
    """The next message with this payload; others, such as second deliveries, are passed over."""
    async with asyncio.timeout(WAIT_S):
        async for received in connection:
            if received.payload == payload:
                return received
    raise AssertionError("unreachable")


async def reach_quiet(connection: Connection, topic: str) -> list[bytes]:
    """Everything that is delivered before a marker published now."""
    await connection.publish(topic, b"marker")
    seen: list[bytes] = []
    async with asyncio.timeout(WAIT_S):
        async for received in connection:
            if received.payload == b"marker":
                return seen
            seen.append(bytes(received.payload))
    raise AssertionError("unreachable")


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_subscriber_gets_what_is_published(broker: BrokerProcess, qos: int) -> None:
    async with Connection.open(broker.settings) as publisher, Connection.open(broker.settings) as subscriber:
        await subscriber.subscribe("devices/+/telemetry", qos=qos)
        await publisher.publish("devices/pi/other", b"not subscribed", qos=qos)
        await publisher.publish("devices/pi/telemetry", b"hello", qos=qos)
        received = await next_of(subscriber)
        assert (received.topic, received.payload, received.retain, received.qos) == (
            "devices/pi/telemetry",
            b"hello",
            False,
            qos,
        )
        assert publisher.counters.published == 2


async def test_messages_keep_their_order(broker: BrokerProcess) -> None:
    async with Connection.open(broker.settings) as publisher, Connection.open(broker.settings) as subscriber:
        await subscriber.subscribe("events")
        sending = [asyncio.ensure_future(publisher.publish("events", b"%d" % number)) for number in range(300)]
        received = [(await next_of(subscriber)).payload for _ in range(300)]
        await asyncio.gather(*sending)
        assert received == [b"%d" % number for number in range(300)]


async def test_retained_messages_reach_a_new_session_until_cleared(broker: BrokerProcess) -> None:
    async with Connection.open(broker.settings) as publisher:
        await publisher.publish("streams/a", b"first", retain=True)
        await publisher.publish("streams/a", b"second", retain=True)
        await publisher.publish("streams/b", b"gone", retain=True)
        await publisher.publish("streams/b", b"", retain=True)
        async with Connection.open(broker.settings) as subscriber:
            await subscriber.subscribe("streams/+")
            received = await next_of(subscriber)
            assert (received.topic, received.payload, received.retain) == ("streams/a", b"second", True)
            assert await reach_quiet(subscriber, "streams/z") == []


async def test_more_retained_messages_than_the_receive_maximum_all_arrive(broker: BrokerProcess) -> None:
    # rumqttd delivers at most 100 retained messages per subscription of QoS 1 (broker/README.md).
    count = 90 if isinstance(broker, EmbeddedBroker) else 250
    async with Connection.open(broker.settings) as publisher:
        for number in range(count):
            await publisher.publish(f"devices/d{number}/links", b"%d" % number, retain=True)
        async with Connection.open(broker.settings, receive_maximum=10) as subscriber:
            await subscriber.subscribe("devices/+/links")
            received = {(await next_of(subscriber)).payload for _ in range(count)}
            assert received == {b"%d" % number for number in range(count)}


async def test_the_will_of_a_killed_process_is_published_and_retained(broker: BrokerProcess) -> None:
    settings = broker.settings
    async with Connection.open(settings) as observer:
        await observer.subscribe("devices/+/presence")
        account = f"{settings.username}:{quote(settings.password or '', safe='')}@" if settings.username else ""
        address = f"{'mqtts' if settings.tls else 'mqtt'}://{account}{settings.host}:{settings.port}"
        child = await asyncio.create_subprocess_exec(
            sys.executable, str(Path(__file__).with_name("will_client.py")), address, settings.tls_ca or ""
        )
        try:
            assert (await next_of(observer)).payload == b"online"
        finally:
            child.kill()
            await child.wait()
        assert (await next_of(observer)).payload == b"offline"
    async with Connection.open(settings) as late:
        await late.subscribe("devices/+/presence")
        received = await next_of(late)
        assert (received.payload, received.retain) == (b"offline", True)


async def test_leaving_politely_publishes_no_will(broker: BrokerProcess) -> None:
    async with Connection.open(broker.settings) as observer:
        await observer.subscribe("devices/+/presence")
        async with Connection.open(broker.settings, will=Will("devices/pi/presence", b"offline")):
            pass
        assert await reach_quiet(observer, "devices/observer/presence") == []


async def test_properties_travel(broker: BrokerProcess) -> None:
    properties = Properties(
        correlation_data=b"\x00request 7\xff",
        response_topic="apps/camera/answers",
        content_type="image/jpeg",
        user={"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "ключ": "значение"},
    )
    async with Connection.open(broker.settings) as publisher, Connection.open(broker.settings) as subscriber:
        await subscriber.subscribe("streams/a/requests")
        await publisher.publish("streams/a/requests", b"x", properties=properties)
        assert (await next_of(subscriber)).properties == properties


async def test_a_response_topic_is_published_as_it_is(broker: BrokerProcess) -> None:
    app_settings = replace(broker.settings, root="apps")
    async with Connection.open(broker.settings) as service, Connection.open(app_settings) as app:
        await app.subscribe("camera/answers")
        await service.publish("apps/camera/answers", b"42", absolute=True)
        assert (await next_of(app)).payload == b"42"


@pytest.mark.parametrize("size_bytes", [1, 524_288, 3_211_264, 12_845_056])
async def test_feature_maps_arrive_unchanged(broker: BrokerProcess, size_bytes: int) -> None:
    tensor = os.urandom(size_bytes)
    header = {"request_id": "r1", "shape": [1, size_bytes]}
    async with (
        BrokerTransport.open(broker.settings, "pi") as sender,
        BrokerTransport.open(broker.settings, "server") as receiver,
    ):
        sending = asyncio.ensure_future(sender.send("server", encode_frame(header, [tensor])))
        delivery = await next_of(receiver)
        sent = await sending
        decoded, (view,) = decode_frame(delivery.buffer)
        assert decoded == header
        assert view == tensor
        assert delivery.sender == "pi"
        assert sent.size_bytes == delivery.size_bytes == len(delivery.buffer)
        assert delivery.first_chunk_at_s <= delivery.completed_at_s


async def test_unacknowledged_messages_come_again_after_a_reconnect(broker: BrokerProcess) -> None:
    async with Connection.open(broker.settings) as publisher:
        intake: dict[str, Any] = {"client_id": "source", "persistent_session": True, "manual_ack": True}
        async with Connection.open(broker.settings, **intake) as first:
            await first.subscribe("streams/a/requests")
            for payload in (b"one", b"two", b"three"):
                await publisher.publish("streams/a/requests", payload)
            one, _, three = [await next_of(first) for _ in range(3)]
            three.acknowledge()
            one.acknowledge()
            await first.publish("events", b"the acknowledgements before this one have left")
        await publisher.publish("streams/a/requests", b"four")
        async with Connection.open(broker.settings, **intake) as second:
            again = [bytes((await next_of(second)).payload) for _ in range(3)]
            assert sorted(again) == sorted([b"two", b"three", b"four"])


async def test_acknowledgements_in_any_order_keep_the_connection(broker: BrokerProcess) -> None:
    async with (
        Connection.open(broker.settings) as publisher,
        Connection.open(broker.settings, manual_ack=True, receive_maximum=8) as worker,
    ):
        await worker.subscribe("streams/a/requests")
        for round_number in range(20):
            payloads = [b"%d.%d" % (round_number, number) for number in range(8)]
            for payload in payloads:
                await publisher.publish("streams/a/requests", payload)
            taken = [await next_of(worker) for _ in payloads]
            assert [message.payload for message in taken] == payloads
            for message in (*taken[4:], *taken[:4]):
                message.acknowledge()
        assert worker.counters.reconnects == 0


async def test_after_a_broker_crash_everything_is_as_before(broker: BrokerProcess) -> None:
    async def announce(connection: Connection) -> None:
        await connection.publish("devices/pi/presence", b"online", retain=True)

    async with (
        Connection.open(broker.settings, on_connected=announce) as device,
        Connection.open(broker.settings) as planner,
    ):
        await planner.subscribe("devices/+/presence")
        await planner.subscribe("events")
        assert (await next_of(planner)).payload == b"online"
        await broker.kill()
        during = asyncio.ensure_future(device.publish("events", b"published during the outage", timeout_s=WAIT_S))
        await broker.start()
        await during
        await device.wait_connected(WAIT_S)
        await planner.wait_connected(WAIT_S)
        assert device.counters.reconnects == planner.counters.reconnects == 1
        await next_with_payload(planner, b"online")
        await device.publish("events", b"after the outage")
        await next_with_payload(planner, b"after the outage")
        async with Connection.open(broker.settings) as late:
            await late.subscribe("devices/+/presence")
            assert (await next_of(late)).payload == b"online"


async def test_a_publication_during_the_outage_arrives_at_a_persistent_subscriber(broker: BrokerProcess) -> None:
    async with (
        Connection.open(broker.settings, client_id="collector", persistent_session=True) as subscriber,
        Connection.open(broker.settings) as publisher,
    ):
        await subscriber.subscribe("events")
        await broker.kill()
        sending = asyncio.ensure_future(publisher.publish("events", b"kept", retain=True, timeout_s=WAIT_S))
        await broker.start()
        await sending
        assert (await next_of(subscriber)).payload == b"kept"


async def test_nothing_of_quality_0_waits_for_a_broker_that_is_away(broker: BrokerProcess) -> None:
    async with Connection.open(broker.settings) as connection:
        await broker.kill()
        async with asyncio.timeout(WAIT_S):
            while connection.is_connected:
                await connection.publish("devices/pi/telemetry", b"x", qos=0)
        await connection.publish("devices/pi/telemetry", b"x", qos=0)
        assert connection.counters.dropped_offline >= 1
        with pytest.raises(PublishFailed, match=r"no connection to the broker within 0\.2 s"):
            await connection.publish("events", b"x", timeout_s=0.2)
        with pytest.raises(BrokerUnreachable):
            await connection.wait_connected(0.05)


async def test_a_wrong_password_is_refused(broker: BrokerProcess) -> None:
    if broker.settings.username is None:
        pytest.skip("this broker is open")
    wrong = replace(broker.settings, password="not it")
    with pytest.raises(AccessRefused) as refusal:
        async with Connection.open(wrong, connect_timeout_s=WAIT_S):
            pass
    assert "not it" not in str(refusal.value)


async def test_an_unknown_authority_is_not_trusted(broker: BrokerProcess) -> None:
    if not broker.settings.tls:
        pytest.skip("this broker speaks no TLS")
    with pytest.raises(BrokerUnreachable, match=r"(?i)certificate"):
        async with Connection.open(replace(broker.settings, tls_ca=None), connect_timeout_s=1.0):
            pass


async def test_the_broker_can_be_trusted_blindly_when_asked(broker: BrokerProcess) -> None:
    if not broker.settings.tls:
        pytest.skip("this broker speaks no TLS")
    blind = replace(broker.settings, tls_ca=None, tls_insecure=True)
    async with Connection.open(blind) as connection:
        assert connection.is_connected


async def test_a_slow_consumer_holds_a_bounded_number_of_messages(broker: BrokerProcess) -> None:
    settings: BusSettings = replace(broker.settings, queue_limit=20)
    async with (
        Connection.open(broker.settings) as publisher,
        Connection.open(settings, receive_maximum=10) as slow,
        Connection.open(broker.settings) as fast,
    ):
        await slow.subscribe("events", qos=0)
        await slow.subscribe("streams/a/results", qos=1)
        await fast.subscribe("events", qos=0)
        for number in range(90):
            await publisher.publish("streams/a/results", b"%d" % number, qos=1)
        for number in range(200):
            await publisher.publish("events", b"%d" % number, qos=1)
            await next_of(fast)
        async with asyncio.timeout(WAIT_S):
            while slow.dropped_incoming < 180:
                await publisher.publish("events/unheard", b"one round trip")
        assert slow.waiting <= 20 + 2 * 100
        received = [await next_of(slow) for _ in range(20 + 90)]
        results = [message.payload for message in received if message.topic == "streams/a/results"]
        events = [message.payload for message in received if message.topic == "events"]
        assert results == [b"%d" % number for number in range(90)]
        assert events == [b"%d" % number for number in range(180, 200)]


async def test_a_second_client_with_the_same_id_takes_over(broker: BrokerProcess) -> None:
    async with Connection.open(broker.settings) as observer:
        await observer.subscribe("devices/pi/presence")
        will = Will("devices/pi/presence", b"offline")
        old = Connection.open(broker.settings, client_id="pi", will=will)
        new = Connection.open(broker.settings, client_id="pi", will=will)
        async with old as first, new, asyncio.timeout(WAIT_S):
            while first.counters.reconnects == 0:
                assert (await next_of(observer)).payload == b"offline"
