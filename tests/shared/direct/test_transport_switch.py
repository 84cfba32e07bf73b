"""The choice between a real broker and real direct connections."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from broker.process import BrokerProcess
from shared.bus.errors import BusError, PublishFailed
from shared.bus.feature_maps.transport import BrokerTransport, Delivery
from shared.direct.direct_channel import DirectSendFailed
from shared.direct.direct_messages import PART_BYTES
from shared.direct.direct_transport import DirectTransport
from shared.direct.transport_switch import TransportSwitch
from shared.messages.devices import Presence, State
from shared.transport_mode import Carrier, TransportMode
from tests.shared.direct.conftest import WAIT_S, Machine, presence_of

MQTT, DIRECT, AUTO = TransportMode


@dataclass
class Ways:
    """Both transports of `pi` and of `server`, and the choice of `pi`."""

    switch: TransportSwitch
    pi: DirectTransport
    server: DirectTransport
    pi_broker: BrokerTransport
    server_broker: BrokerTransport

    async def send(self, data: bytes, mode: TransportMode | None = None) -> Carrier:
        """Send a frame to `server`, check that it arrives once, and return what carried it."""
        expected = self.switch.carrier("server", mode)
        sending = asyncio.ensure_future(self.switch.send("server", [data], mode=mode))
        arriving = [asyncio.ensure_future(anext(way)) for way in (self.server_broker, self.server)]
        async with asyncio.timeout(WAIT_S):
            done, rest = await asyncio.wait(arriving, return_when=asyncio.FIRST_COMPLETED)
            for waiting in rest:
                waiting.cancel()
            delivery: Delivery = done.pop().result()
            sent = await sending
        assert bytes(delivery.buffer) == data
        assert (delivery.acknowledge is not None) == (sent.carrier is Carrier.DIRECT)
        assert sent.carrier is expected
        return sent.carrier


@pytest.fixture
async def ways(machine: Machine, embedded: BrokerProcess) -> AsyncIterator[Ways]:
    pi, server = await machine.open("pi"), await machine.open("server")
    async with (
        BrokerTransport.open(embedded.settings, "pi") as pi_broker,
        BrokerTransport.open(embedded.settings, "server") as server_broker,
    ):
        switch = TransportSwitch(pi_broker, pi, AUTO)
        yield Ways(switch, pi, server, pi_broker, server_broker)


async def test_auto_takes_the_broker_until_there_is_a_connection(ways: Ways) -> None:
    assert await ways.send(b"nothing is known") is Carrier.MQTT
    ways.server.learn(presence_of(ways.pi))
    ways.pi.learn(presence_of(ways.server))
    # The first frame asks for the connection.
    assert await ways.send(b"first") is Carrier.MQTT
    assert await ways.pi.connected("server")
    assert await ways.send(b"second") is Carrier.DIRECT
    assert ways.switch.passes_others("server", PART_BYTES)
    assert not ways.switch.passes_others("server", PART_BYTES + 1)
    assert await ways.send(b"as its policy says", MQTT) is Carrier.MQTT
    assert not ways.switch.passes_others("server", 1, MQTT)
    ways.pi.learn(Presence(device="server", state=State.OFFLINE))
    assert await ways.send(b"gone") is Carrier.MQTT


async def test_direct_waits_for_the_connection_and_never_takes_the_broker(ways: Ways) -> None:
    with pytest.raises(DirectSendFailed, match="no direct way to server: it is not connected"):
        await ways.switch.send("server", [b"x"], mode=DIRECT)
    ways.server.learn(presence_of(ways.pi))
    ways.pi.learn(presence_of(ways.server))
    assert await ways.send(b"x", DIRECT) is Carrier.DIRECT
    assert ways.pi_broker.counters.sent == 0


async def test_a_frame_whose_connection_breaks_goes_through_the_broker(ways: Ways) -> None:
    ways.server.learn(presence_of(ways.pi))
    ways.pi.learn(presence_of(ways.server))
    assert await ways.pi.connected("server")
    frame = bytes(range(256)) * 8000

    async def pace(passed_bytes: int) -> None:
        if passed_bytes > 1_000_000:
            for channel in ways.server._listener.channels:
                channel.close("the test ends it")

    sending = asyncio.ensure_future(ways.switch.send("server", [frame], pace=pace))
    async with asyncio.timeout(WAIT_S):
        assert bytes((await anext(ways.server_broker)).buffer) == frame
        assert (await sending).carrier is Carrier.MQTT
    assert ways.server._budget.used_bytes == 0


async def test_a_device_without_direct_connections_says_so(ways: Ways) -> None:
    plain = TransportSwitch(ways.pi_broker, None, MQTT)
    assert plain.carrier("server", AUTO) is Carrier.MQTT
    with pytest.raises(PublishFailed, match="only direct connections are allowed"):
        await plain.send("server", [b"x"], mode=DIRECT)
    assert issubclass(DirectSendFailed, BusError)


async def test_a_small_frame_goes_at_once_on_the_carrier_that_is_named_or_not_at_all(ways: Ways) -> None:
    # The broker has not said yet whether this device may write there.
    assert not ways.switch.send_now("server", [b"x"])
    assert await ways.send(b"first") is Carrier.MQTT
    assert ways.switch.send_now("server", [b"by the", b" broker"])
    async with asyncio.timeout(WAIT_S):
        assert bytes((await anext(ways.server_broker)).buffer) == b"by the broker"
    assert not ways.switch.send_now("server", [b"x"], DIRECT)
    ways.server.learn(presence_of(ways.pi))
    ways.pi.learn(presence_of(ways.server))
    assert await ways.pi.connected("server")
    assert ways.switch.carrier("server") is Carrier.DIRECT
    assert ways.switch.send_now("server", [b"directly"])
    async with asyncio.timeout(WAIT_S):
        assert bytes((await anext(ways.server)).buffer) == b"directly"
    assert not ways.pi_broker.send_now("server", [bytes(2_000_000)]), "more than a chunk"
    assert not TransportSwitch(ways.pi_broker, None, MQTT).send_now("server", [b"x"], DIRECT)
