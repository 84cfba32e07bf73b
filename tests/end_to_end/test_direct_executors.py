"""Two real executors that send to each other directly, and through the broker where that does not work."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from shared.direct.direct_tls import BootCertificate
from shared.messages.events import EventKind
from shared.messages.requests import Outcome, OutcomeStatus
from shared.transport_mode import Carrier, TransportMode
from tests.support.executor_pair import World, pair_of_executors

pytestmark = pytest.mark.timeout(120)

MQTT, DIRECT, AUTO = TransportMode


async def until_carried_by(world: World, carrier: Carrier, name: str) -> list[Outcome]:
    """Submit requests one after the other until one was carried so; return their outcomes."""
    outcomes: list[Outcome] = []
    async with asyncio.timeout(60):
        while not outcomes or outcomes[-1].trace[0].transport is not carrier:
            outcomes.append(await world.ask(f"{name}-{len(outcomes)}"))
            assert outcomes[-1].status is OutcomeStatus.OK, outcomes[-1].error
    return outcomes


@pytest.mark.parametrize("way", ["unix", "tcp", "tls"])
async def test_a_route_over_two_devices_is_the_same_directly(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"transport": AUTO, "direct_folder": tmp_path / "sockets"}
    if way != "unix":
        settings["direct_folder"] = Path("/proc/no/folder")
    if way == "tls":
        monkeypatch.setattr("shared.direct.direct_settings.is_loopback", lambda host: False)
    async with pair_of_executors(tmp_path, **settings) as world:
        await world.commit("raw", transport=MQTT)
        brokered = await world.ask("same")
        assert brokered.trace[0].transport is Carrier.MQTT
    again = tmp_path / "again"
    again.mkdir()
    async with pair_of_executors(again, **settings) as world:
        await world.commit("raw")
        await until_carried_by(world, Carrier.DIRECT, "warm")
        direct = await world.ask("same")
    assert direct.trace[0].transport is Carrier.DIRECT
    assert direct.trace[-1].transport is None
    assert direct.attempt == 1
    assert direct.outputs == brokered.outputs


async def test_direct_alone_uses_no_broker_for_feature_maps(tmp_path: Path) -> None:
    async with pair_of_executors(tmp_path, transport=DIRECT, direct_folder=tmp_path / "sockets") as world:
        await world.commit("raw")
        for number in range(5):
            outcome = await world.ask(f"r{number}")
            assert (outcome.status, outcome.trace[0].transport) == (OutcomeStatus.OK, Carrier.DIRECT)


async def test_a_device_without_direct_connections_is_reached_through_the_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing can listen: no folder, no library for TLS, and every address needs TLS.
    monkeypatch.setattr("shared.direct.direct_settings.is_loopback", lambda host: False)
    monkeypatch.setattr(BootCertificate, "make", lambda: None)
    async with pair_of_executors(tmp_path, transport=AUTO, direct_folder=Path("/proc/no/folder")) as world:
        await world.commit("raw")
        for number in range(3):
            outcome = await world.ask(f"r{number}")
            assert (outcome.status, outcome.trace[0].transport) == (OutcomeStatus.OK, Carrier.MQTT)


async def test_transfers_are_measured_with_their_transport(tmp_path: Path) -> None:
    async with pair_of_executors(tmp_path, transport=AUTO, direct_folder=tmp_path / "sockets") as world:
        await world.commit("raw")
        await until_carried_by(world, Carrier.DIRECT, "r")
        await world.until(lambda: any(each.transport is Carrier.DIRECT for each in world.observed))
        assert all(each.finished and each.elapsed_ms > 0 for each in world.observed)
        assert not [event for event in world.events if event.kind is EventKind.BAD_MESSAGE]
