"""Monitors on a real broker measure the emulated conditions and publish their changes."""

import asyncio
import sys

import pytest

from broker.embedded import EmbeddedBroker
from services.monitor.config import MonitorConfig
from services.monitor.service import serve
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.errors import BrokerUnreachable
from shared.messages.devices import ComputeObservation, Links, Probe, State, TransferObservation
from tests.support.monitor_world import MonitoredFleet, RunMonitors

# A busy machine delivers late, so that an emulated link is truly slower than its emulation.
TOLERANCE = 0.25
MOST_LATENCY_MS = 60.0


def bandwidth(links: Links, target: str) -> float:
    return next((link.bandwidth_mbps for link in links.links if link.target == target), 0.0)


def is_near(value: float, expected: float) -> bool:
    return abs(value / expected - 1) <= TOLERANCE


def is_measured(links: Links, bandwidth_mbps: float, least_latency_ms: float) -> bool:
    """Return whether the server's link has an estimate from several probes, and the right one."""
    if not is_near(bandwidth(links, "server"), bandwidth_mbps):
        return False
    link = links.links[0]
    return link.samples >= 6 and least_latency_ms <= link.latency_ms <= MOST_LATENCY_MS


async def test_probes_measure_the_emulated_link_and_follow_its_drop(
    fleet: MonitoredFleet, run_monitors: RunMonitors
) -> None:
    await fleet.online("pi", "server")
    await fleet.declare("door", "pi")
    await fleet.emulate("pi", server=(20.0, 5.0))
    async with run_monitors("pi", "server", heartbeat_s=0.5):
        # There: 5 ms of the emulated link; back: nothing is emulated.
        await fleet.until_links("pi", lambda links: is_measured(links, 20.0, 2.5))
        await fleet.emulate("pi", server=(2.0, 5.0))
        await fleet.until_links("pi", lambda links: is_near(bandwidth(links, "server"), 2.0))
        await fleet.offline("server")
        await fleet.until_links("pi", lambda links: not links.links)


async def test_emulation_of_the_link_is_measured_in_separate_processes(
    broker: EmbeddedBroker, fleet: MonitoredFleet
) -> None:
    await fleet.online("pi", "server")
    await fleet.emulate("pi", server=(20.0, 5.0))
    await fleet.emulate("server", pi=(20.0, 5.0))
    program = (
        "import asyncio, sys; from services.monitor.config import MonitorConfig; "
        "from services.monitor.service import serve; from shared.bus.settings import BusSettings; "
        "bus = BusSettings.from_address(sys.argv[2]); "
        "asyncio.run(serve(MonitorConfig(sys.argv[1], bus, emulated=True, heartbeat_s=0.5)))"
    )
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, device, broker.settings.address)
        for device in ("pi", "server")
    ]
    try:
        await fleet.until_links("pi", lambda links: is_measured(links, 20.0, 4.5))
        processes[1].kill()
        dead = await fleet.until_service("monitor-server", State.OFFLINE)
        assert dead.role == "monitor"
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def test_observed_transfers_come_before_probes(fleet: MonitoredFleet, run_monitors: RunMonitors) -> None:
    await fleet.online("pi", "server")
    async with run_monitors("pi"):
        await fleet.until_service("monitor-pi", State.ONLINE)
        transfer = TransferObservation(device="pi", target="server", size_bytes=250_000, elapsed_ms=100.0)
        await fleet.connection.publish(topics.observations("pi"), transfer.encode())
        links = await fleet.until_links("pi", lambda links: bool(links.links))
        assert bandwidth(links, "server") == pytest.approx(20.0)


async def test_the_load_factor_follows_the_executors_observations(
    fleet: MonitoredFleet, run_monitors: RunMonitors
) -> None:
    async with run_monitors("pi", sample_interval_s=0.05):
        await fleet.until_telemetry("pi", lambda telemetry: telemetry.memory_total_bytes > 0)
        for _ in range(10):
            compute = ComputeObservation(device="pi", model="a" * 64, start=0, stop=3, measured_ms=90.0, idle_ms=30.0)
            await fleet.connection.publish(topics.observations("pi"), compute.encode())
        telemetry = await fleet.until_telemetry("pi", lambda telemetry: telemetry.load_factor > 2.0)
        assert telemetry.load_factor == pytest.approx(3.0)


async def test_without_observations_the_emulated_load_is_measured_by_the_fixed_computation(
    fleet: MonitoredFleet, run_monitors: RunMonitors
) -> None:
    async with run_monitors("pi", sample_interval_s=0.05, observation_age_s=0.1):
        await fleet.until_telemetry("pi", lambda telemetry: telemetry.load_factor < 1.5)
        await fleet.emulate("pi", load_factor=4.0)
        telemetry = await fleet.until_telemetry("pi", lambda telemetry: telemetry.load_factor > 3.0)
        assert telemetry.load_factor < 6.0
        await fleet.emulate("pi", load_factor=1.0)
        await fleet.until_telemetry("pi", lambda telemetry: telemetry.load_factor < 1.5)


async def test_links_are_retained_and_published_again_after_the_broker_came_back_empty(
    broker: EmbeddedBroker, fleet: MonitoredFleet, run_monitors: RunMonitors
) -> None:
    await fleet.online("pi", "server")
    async with run_monitors("pi", heartbeat_s=3600.0):
        await fleet.until_service("monitor-pi", State.ONLINE)
        transfer = TransferObservation(device="pi", target="server", size_bytes=250_000, elapsed_ms=100.0)
        await fleet.connection.publish(topics.observations("pi"), transfer.encode())
        await fleet.until_links("pi", lambda links: bool(links.links))
        await broker.kill()
        await broker.start()
        await fleet.until_links("pi", lambda links: bool(links.links))
        async with Connection.open(broker.settings) as late:
            await late.subscribe(topics.links("pi"))
            async with asyncio.timeout(10):
                received = await anext(late)
            assert received.retain
            assert bandwidth(Links.decode(received.payload), "server") == pytest.approx(20.0)


async def test_a_heartbeat_follows_without_changes(fleet: MonitoredFleet, run_monitors: RunMonitors) -> None:
    async with run_monitors("pi", heartbeat_s=0.2):
        first = await fleet.until_links("pi", lambda _: True)
        second = await fleet.until_links("pi", lambda links: links.sent_at_s > first.sent_at_s)
        assert second.links == first.links == ()


async def test_malformed_messages_are_logged_once_per_cause_and_dropped(
    fleet: MonitoredFleet, run_monitors: RunMonitors, caplog: pytest.LogCaptureFixture
) -> None:
    await fleet.online("pi", "server")
    async with run_monitors("pi"):
        await fleet.until_service("monitor-pi", State.ONLINE)
        for _ in range(20):
            await fleet.connection.publish(topics.observations("pi"), b"\xc1 not a message")
            await fleet.connection.publish(topics.presence("evil"), b"{}")
            await fleet.connection.publish(topics.probes("pi"), b"\x00")
        transfer = TransferObservation(device="pi", target="server", size_bytes=250_000, elapsed_ms=100.0)
        await fleet.connection.publish(topics.observations("pi"), transfer.encode())
        await fleet.until_links("pi", lambda links: bool(links.links))
    dropped = [record for record in caplog.records if record.getMessage().startswith("dropped a message")]
    assert len(dropped) == 3


async def test_an_echo_has_the_size_of_a_probe_but_not_its_padding(
    broker: EmbeddedBroker, fleet: MonitoredFleet, run_monitors: RunMonitors
) -> None:
    async with run_monitors("server"), Connection.open(broker.settings) as prober:
        await fleet.until_service("monitor-server", State.ONLINE)
        await prober.subscribe(topics.probes("pi"), qos=0)
        probe = Probe(kind="probe", probe_id="p1", sender="pi", size_bytes=5000, padding=bytes(5000))
        await fleet.connection.publish(topics.probes("server"), probe.encode(), qos=0)
        async with asyncio.timeout(10):
            echo = Probe.decode((await anext(prober)).payload)
        assert (echo.kind, echo.probe_id, echo.sender, echo.size_bytes) == ("echo", "p1", "server", 5000)
        assert echo.padding == b""


async def test_it_says_goodbye(fleet: MonitoredFleet, run_monitors: RunMonitors) -> None:
    async with run_monitors("pi"):
        online = await fleet.until_service("monitor-pi", State.ONLINE)
        assert (online.role, online.name) == ("monitor", "monitor-pi")
        assert online.boot_id
    await fleet.until_service("monitor-pi", State.OFFLINE)


async def test_a_broker_out_of_reach_is_an_error(broker: EmbeddedBroker) -> None:
    await broker.stop()
    with pytest.raises(BrokerUnreachable):
        await serve(MonitorConfig("pi", broker.settings, connect_timeout_s=0.3))
