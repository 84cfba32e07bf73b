"""Subscriptions of a connection: refused ones, ended ones, and those that a new session requests again."""

import asyncio
from dataclasses import replace

import pytest

from broker.process import BrokerProcess
from shared.bus.connection import Connection
from shared.bus.errors import AccessRefused, SubscriptionFailed
from shared.bus.settings import BusSettings

WAIT_S = 20.0


async def test_a_forbidden_subscription_is_refused_and_forgotten() -> None:
    hung_up = asyncio.Event()

    async def refuse_subscriptions(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(bytes([0x20, 3, 0, 0, 0]))
        subscribe = await reader.read(1000)
        writer.write(bytes([0x90, 4, subscribe[2], subscribe[3], 0, 0x87]))
        await reader.read()
        writer.close()
        hung_up.set()

    server = await asyncio.start_server(refuse_subscriptions, "127.0.0.1", 0)
    async with server, asyncio.timeout(WAIT_S):
        settings = BusSettings("127.0.0.1", server.sockets[0].getsockname()[1])
        async with Connection.open(settings) as connection:
            with pytest.raises(AccessRefused, match="no subscription to segue/v1/devices/pi/inbox"):
                await connection.subscribe("devices/pi/inbox")
            assert connection.missing_rights.text.endswith("read segue/v1/devices/pi/inbox")
        await hung_up.wait()


async def test_subscriptions_end(embedded: BrokerProcess) -> None:
    async with Connection.open(embedded.settings) as connection, asyncio.timeout(WAIT_S):
        await connection.subscribe("a")
        await connection.subscribe("b")
        await connection.unsubscribe("a")
        await connection.unsubscribe("never subscribed")
        await connection.publish("a", b"not heard")
        await connection.publish("b", b"heard")
        assert (await anext(connection)).payload == b"heard"


async def test_a_subscription_that_is_not_confirmed_in_time_is_remembered(embedded: BrokerProcess) -> None:
    async with Connection.open(embedded.settings) as connection, asyncio.timeout(WAIT_S):
        await embedded.kill()
        while connection.is_connected:
            await connection.publish("telemetry", b"x", qos=0)
        with pytest.raises(SubscriptionFailed):
            await connection.subscribe("events", timeout_s=0.1)
        await embedded.start()
        await connection.publish("events", b"heard", timeout_s=WAIT_S)
        assert (await anext(connection)).payload == b"heard"


async def test_a_new_session_requests_what_is_left(embedded: BrokerProcess) -> None:
    settings = replace(embedded.settings, reconnect_min_s=0.05, reconnect_max_s=0.05)
    async with Connection.open(settings) as connection, asyncio.timeout(WAIT_S):
        await connection.subscribe("a")
        await connection.subscribe("b")
        await embedded.kill()
        while connection.is_connected:
            await connection.publish("telemetry", b"x", qos=0)
        await connection.unsubscribe("a")
        await embedded.start()
        await connection.publish("a", b"not heard", timeout_s=WAIT_S)
        await connection.publish("b", b"heard", timeout_s=WAIT_S)
        assert (await anext(connection)).payload == b"heard"
