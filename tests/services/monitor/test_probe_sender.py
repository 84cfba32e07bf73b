"""Probes cross a real broker, delayed and lost as the emulated link does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker.embedded import EmbeddedBroker
from services.monitor.emulated_conditions import EmulatedConditions
from services.monitor.probe_sender import MAX_SENDING, ProbeSender
from services.monitor.probe_settings import ProbeSettings, SendProbe
from shared.bus import topics
from shared.bus.connection import Connection
from shared.messages.devices import DirectProbe, EmulatedLink, Emulation, Probe
from shared.transport_mode import Carrier


def at(bandwidth_mbps: float) -> Emulation:
    link = EmulatedLink(target="server", bandwidth_mbps=bandwidth_mbps, latency_ms=0.0)
    return Emulation(device="pi", links=(link,))


def sender_of(
    device: str,
    connection: Connection,
    group: asyncio.TaskGroup,
    conditions: EmulatedConditions | None = None,
    settings: ProbeSettings | None = None,
) -> ProbeSender:
    conditions = conditions or EmulatedConditions()
    return ProbeSender(device, settings or ProbeSettings(), conditions, group, probes=connection, control=connection)


@asynccontextmanager
async def receiving(broker: EmbeddedBroker, device: str) -> AsyncIterator[Connection]:
    async with Connection.open(broker.settings) as connection, asyncio.timeout(30):
        await connection.subscribe(topics.probes(device), qos=0)
        yield connection


async def test_a_probe_carries_its_padding_and_its_echo_does_not(broker: EmbeddedBroker) -> None:
    async with receiving(broker, "server") as server, receiving(broker, "pi") as pi, asyncio.TaskGroup() as group:
        sender_of("pi", pi, group).send(SendProbe("server", "p1", 5000))
        probe = Probe.decode((await anext(server)).payload)
        assert (probe.kind, probe.sender, len(probe.padding)) == ("probe", "pi", 5000)
        sender_of("server", server, group).echo(probe)
        echo = Probe.decode((await anext(pi)).payload)
        assert (echo.kind, echo.sender, echo.probe_id, echo.padding) == ("echo", "server", "p1", b"")


async def test_messages_beyond_the_limit_are_dropped_while_a_link_holds_the_others(broker: EmbeddedBroker) -> None:
    conditions = EmulatedConditions()
    conditions.obey(at(0.0))
    async with receiving(broker, "server") as server, asyncio.TaskGroup() as group:
        sender = sender_of("pi", server, group, conditions)
        for number in range(MAX_SENDING + 10):
            sender.send(SendProbe("server", f"p{number}", 0))
        await asyncio.sleep(0)
        conditions.obey(at(1000.0))
        arrived = {Probe.decode((await anext(server)).payload).probe_id for _ in range(MAX_SENDING)}
        assert arrived == {f"p{number}" for number in range(MAX_SENDING)}
        # Their places are free again.
        sender.send(SendProbe("server", "last", 0))
        assert Probe.decode((await anext(server)).payload).probe_id == "last"


async def test_a_probe_on_a_link_that_is_down_is_lost_and_frees_its_place(broker: EmbeddedBroker) -> None:
    conditions = EmulatedConditions()
    conditions.obey(at(0.0))
    settings = ProbeSettings(timeout_s=0.005)
    async with receiving(broker, "server") as server:
        async with asyncio.TaskGroup() as group:
            sender = sender_of("pi", server, group, conditions, settings)
            for _ in range(MAX_SENDING):
                sender.send(SendProbe("server", "lost", 0))
        async with asyncio.TaskGroup() as group:
            conditions.obey(at(1000.0))
            sender_of("pi", server, group, conditions, settings).send(SendProbe("server", "first", 0))
        assert Probe.decode((await anext(server)).payload).probe_id == "first"


async def test_the_executor_is_told_to_probe_a_direct_link(broker: EmbeddedBroker) -> None:
    async with receiving(broker, "server") as server, asyncio.TaskGroup() as group:
        await server.subscribe(topics.direct_probes("pi"), qos=0)
        sender_of("pi", server, group).send(SendProbe("server", "p1", 5000, Carrier.DIRECT))
        received = await anext(server)
        assert received.topic == "devices/pi/direct_probes"
        order = DirectProbe.decode(received.payload)
        assert (order.target, order.probe_id, order.size_bytes) == ("server", "p1", 5000)
