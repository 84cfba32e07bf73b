"""Probes of real direct connections; a broker carries the results."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

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
from shared.bus.feature_maps.emulation import ShapedTransport
from shared.bus.feature_maps.link_schedule import LinkRate
from shared.bus.feature_maps.transport import BrokerTransport
from shared.bus.settings import BusSettings
from shared.direct.direct_settings import DirectSettings
from shared.direct.direct_transport import DirectTransport
from shared.direct.transport_switch import TransportSwitch
from shared.messages.devices import OBSERVATIONS, DirectEcho, DirectProbe, Presence, State
from shared.processing_clock import ProcessingClock
from shared.transport_mode import TransportMode


@dataclass
class Bench:
    """The probes of `me`, which knows `peer`, and an ear on the broker."""

    probes: DirectProbes
    peer: DirectTransport
    ear: Connection

    async def probe(self, size_bytes: int, target: str = "peer") -> DirectEcho:
        """Order a probe, and return what has become of it."""
        self.probes.begin(DirectProbe(probe_id=f"of {size_bytes}", target=target, size_bytes=size_bytes))
        echo = OBSERVATIONS.decode(bytes((await anext(self.ear)).payload))
        assert isinstance(echo, DirectEcho)
        assert (echo.device, echo.target, echo.probe_id) == ("me", target, f"of {size_bytes}")
        return echo


@asynccontextmanager
async def executor_of(
    name: str, bus: BusSettings, folder: Path, rate: LinkRate | None
) -> AsyncIterator[tuple[DirectTransport, DirectProbes]]:
    """Open what an executor has for probes, and run it."""
    async with AsyncExitStack() as stack:
        settings = DirectSettings(bus, socket_folder=folder / "sockets")
        direct = await stack.enter_async_context(DirectTransport.open(name, "boot", settings))
        broker = await stack.enter_async_context(BrokerTransport.open(bus, name))
        outbox = Outbox(name, await stack.enter_async_context(Connection.open(bus)))
        clock = stack.enter_context(ProcessingClock())
        switch = TransportSwitch(broker, direct, TransportMode.AUTO)
        shaped = None if rate is None else ShapedTransport(switch, {}, rate)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        probes = DirectProbes(direct, shaped or switch, shaped, outbox, clock, group)
        ledger = TransferLedger(name)
        lane = LaneSender(name, switch, ledger, LANE_BYTES)
        answers = DirectAnswers(direct, ledger, ObservationFeed(outbox), outbox, probes, lane)
        tasks = [group.create_task(answers.run()), group.create_task(probes.echo())]
        yield direct, probes
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def bench_with(folder: Path, rate: LinkRate | None = None) -> AsyncIterator[Bench]:
    async with asyncio.timeout(60), EmbeddedBroker() as broker, Connection.open(broker.settings) as ear:
        await ear.subscribe(topics.observations("me"))
        async with (
            executor_of("me", broker.settings, folder, rate) as (me, probes),
            executor_of("peer", broker.settings, folder, rate) as (peer, _),
        ):
            me.learn(Presence(device="peer", state=State.ONLINE, boot_id="boot", direct=peer.access))
            yield Bench(probes, peer, ear)


# Through the socket, in parts, and through shared memory.
@pytest.mark.parametrize("size_bytes", [0, 5_000, 1_000_000])
async def test_a_probe_connects_and_its_time_is_published(tmp_path: Path, size_bytes: int) -> None:
    async with bench_with(tmp_path) as bench:
        echo = await bench.probe(size_bytes)
        assert echo.elapsed_ms is not None
        assert 0 < echo.elapsed_ms < 20_000
        assert not bench.probes._open


async def test_without_a_connection_the_echo_has_no_time(tmp_path: Path) -> None:
    async with bench_with(tmp_path) as bench:
        assert (await bench.probe(0, target="stranger")).elapsed_ms is None
        assert (await bench.probe(0)).elapsed_ms is not None
        bench.peer._listener._on_frame = lambda frame: frame.channel.close("the test ends it")
        assert (await bench.probe(1_000)).elapsed_ms is None


async def test_an_emulated_link_delays_probes_and_echoes(tmp_path: Path) -> None:
    async with bench_with(tmp_path, LinkRate(bandwidth_mbps=8.0, latency_ms=20.0)) as bench:
        tiny, padded = await bench.probe(0), await bench.probe(50_000)
        assert tiny.elapsed_ms is not None
        assert padded.elapsed_ms is not None
        assert tiny.elapsed_ms >= 39.0
        assert padded.elapsed_ms >= 39.0 + 50.0


async def test_a_probe_of_an_emulated_link_that_is_down_ends_at_once(tmp_path: Path) -> None:
    async with bench_with(tmp_path, LinkRate(bandwidth_mbps=0.0, latency_ms=1.0)) as bench, asyncio.timeout(10):
        assert (await bench.probe(1_000)).elapsed_ms is None


async def test_no_more_probes_are_under_way_than_the_bound(tmp_path: Path) -> None:
    async with bench_with(tmp_path) as bench:
        for number in range(1000):
            bench.probes.begin(DirectProbe(probe_id=f"{number}", target="peer"))
        assert len(bench.probes._tasks) <= 64
        await anext(bench.ear)
