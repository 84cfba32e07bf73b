"""The connection where no broker helps: nobody there, nobody who answers, errors of the application."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from broker.process import BrokerProcess, free_port
from shared.bus.connection import Connection, unique_client_id
from shared.bus.errors import AccessRefused, BrokerUnreachable, PublishFailed
from shared.bus.settings import BusSettings

WAIT_S = 20.0


@asynccontextmanager
async def listener(answer: bytes | None) -> AsyncIterator[BusSettings]:
    """A server that reads the CONNECT packet, then answers with these bytes and hangs up; None to say nothing."""
    release = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        if answer is None:
            await release.wait()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield BusSettings("127.0.0.1", server.sockets[0].getsockname()[1], attempt_timeout_s=0.2)
        release.set()


async def test_nobody_there_is_said_with_address_and_advice() -> None:
    settings = BusSettings("127.0.0.1", free_port(), username="me", password="hunter2")
    with pytest.raises(BrokerUnreachable) as error:
        async with Connection.open(settings, connect_timeout_s=0.3):
            pass
    assert error.value.address == f"mqtt://me@127.0.0.1:{settings.port}"
    assert "segue broker" in str(error.value)
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)


async def test_an_unknown_host_is_said() -> None:
    with pytest.raises(BrokerUnreachable, match="check the host name"):
        async with Connection.open(BusSettings("no-such-host.invalid"), connect_timeout_s=3.0):
            pass


async def test_somebody_who_never_answers_is_not_waited_for() -> None:
    async with listener(None) as settings:
        with pytest.raises(BrokerUnreachable):
            async with Connection.open(settings, connect_timeout_s=0.5):
                pass


async def test_somebody_who_hangs_up_every_time_refuses() -> None:
    async with listener(b"") as settings:
        with pytest.raises(AccessRefused, match="hung up"):
            async with Connection.open(settings, connect_timeout_s=WAIT_S):
                pass


async def test_a_refusal_is_not_repeated() -> None:
    not_authorised = bytes([0x20, 3, 0, 0x87, 0])
    async with listener(not_authorised) as settings:
        with pytest.raises(AccessRefused, match=r"(?i)not authorized"):
            async with Connection.open(settings, connect_timeout_s=WAIT_S):
                pass


async def test_missing_certificates_are_said() -> None:
    settings = BusSettings("127.0.0.1", free_port(), tls=True, tls_ca="/no/such/file.pem")
    with pytest.raises(BrokerUnreachable, match="TLS certificates"):
        async with Connection.open(settings, connect_timeout_s=0.3):
            pass


async def test_one_cause_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    settings = BusSettings("127.0.0.1", free_port(), reconnect_min_s=0.01, reconnect_max_s=0.01)
    with caplog.at_level(logging.WARNING, "shared.bus"), pytest.raises(BrokerUnreachable):
        async with Connection.open(settings, connect_timeout_s=0.5):
            pass
    assert len(caplog.records) == 1


async def test_without_a_bound_it_waits_until_a_broker_is_there(embedded: BrokerProcess) -> None:
    await embedded.kill()
    opened = asyncio.Event()

    async def client() -> None:
        async with Connection.open(embedded.settings, connect_timeout_s=None):
            opened.set()

    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
        group.create_task(client())
        await embedded.start()
        await opened.wait()


async def test_waiting_for_a_broker_can_be_cancelled() -> None:
    opening = asyncio.ensure_future(
        Connection.open(BusSettings("127.0.0.1", free_port()), connect_timeout_s=None).__aenter__()
    )
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening


@pytest.mark.parametrize("error", [ValueError("mine"), ExceptionGroup("mine", [ValueError(), KeyError()])])
async def test_errors_of_the_application_come_out_as_they_are(embedded: BrokerProcess, error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        async with Connection.open(embedded.settings):
            raise error
    assert raised.value is error


async def test_a_crash_in_on_connected_ends_the_connection(embedded: BrokerProcess) -> None:
    async def crash(connection: Connection) -> None:
        raise LookupError("a mistake in the program")

    with pytest.raises(LookupError, match="a mistake"):
        async with Connection.open(embedded.settings, on_connected=crash):
            raise AssertionError("not reached")


async def test_a_bus_error_in_on_connected_does_not(embedded: BrokerProcess, caplog: pytest.LogCaptureFixture) -> None:
    async def publish_too_much(connection: Connection) -> None:
        await connection.publish("events", bytes(100))

    settings = replace(embedded.settings, max_payload_bytes=10)
    with caplog.at_level(logging.WARNING, "shared.bus"):
        async with Connection.open(settings, on_connected=publish_too_much) as connection:
            assert connection.is_connected
    assert "at most 10" in caplog.text


async def test_on_connected_may_publish_more_than_may_be_outstanding(embedded: BrokerProcess) -> None:
    async def announce(connection: Connection) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(connection.publish(f"streams/s{number}", b"x", retain=True))

    settings = replace(embedded.settings, max_outstanding=2)
    async with Connection.open(settings, on_connected=announce) as connection:
        assert connection.counters.published == 20


@pytest.mark.parametrize("payload", ["ü", bytearray(b"\xc3\xbc"), memoryview(b"\xc3\xbc")])
async def test_payloads_of_every_kind_are_sent(embedded: BrokerProcess, payload: str | bytearray | memoryview) -> None:
    async with Connection.open(embedded.settings) as connection, asyncio.timeout(WAIT_S):
        await connection.subscribe("events")
        await connection.publish("events", payload)
        assert (await anext(connection)).payload == b"\xc3\xbc"
        assert (connection.counters.published_bytes, connection.counters.received_bytes) == (2, 2)


async def test_a_payload_beyond_the_bound_is_refused_at_once(embedded: BrokerProcess) -> None:
    async with Connection.open(replace(embedded.settings, max_payload_bytes=10)) as connection:
        with pytest.raises(PublishFailed, match="11 bytes, at most 10"):
            await connection.publish("events", bytes(11))


def test_generated_client_ids_differ() -> None:
    assert unique_client_id("cli") != unique_client_id("cli")
    assert unique_client_id("cli").startswith("cli-")
