"""Disks that turn read-only: what depends on them waits and says so, and all goes on after their repair."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from services.cli.support.health_checks import Level, fleet_findings
from services.cli.testbed.command_lines import COLLECTOR, PLANNER
from shared.client import Client
from shared.messages.requests import OutcomeStatus
from tests.support.small_disks import SmallDisk, can_mount, small_disks
from tests.support.whole_fleet import BROKER, CAMERA, EVERYTHING, FLEET, WholeFleet, open_fleet

STREAM = "door"
EXECUTORS = "executors"
SIZES_BYTES = {EXECUTORS: 64 << 20, COLLECTOR: 16 << 20, PLANNER: 32 << 20}
pytestmark = [
    pytest.mark.skipif(not can_mount(), reason="mounting a disk needs root and loop devices"),
    pytest.mark.timeout(180),
]


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[tuple[WholeFleet, dict[str, SmallDisk]]]:
    with small_disks({tmp_path / name: size_bytes for name, size_bytes in SIZES_BYTES.items()}) as disks:
        async with open_fleet(EmbeddedBroker(), tmp_path) as fleet:
            yield fleet, disks


async def test_all_waits_while_the_disks_are_read_only_and_goes_on_after_their_repair(
    running: tuple[WholeFleet, dict[str, SmallDisk]],
) -> None:
    fleet, disks = running
    await fleet.declare(STREAM)
    services = [part for part in EVERYTHING if part != BROKER]
    async with Client.open(fleet.broker.settings) as client:
        for disk in disks.values():
            await disk.fail()
        sent = [
            asyncio.ensure_future(client.submit(STREAM, payload, timeout_s=90)) for payload in fleet.workload.payloads
        ]
        await fleet.set_policy(STREAM, replace(FLEET.policy, max_in_flight=3))
        await fleet.watcher.until(lambda: troubles(fleet) == {CAMERA, COLLECTOR, PLANNER}, "all three say so")
        named = {finding.subject for finding in fleet_findings(fleet.watcher.view, 0.0) if finding.level is Level.BAD}
        assert {f"device {CAMERA}", COLLECTOR, PLANNER} <= named
        assert not any(request.done() for request in sent)
        await asyncio.gather(*(fleet.processes.stop(service) for service in services))
        for disk in disks.values():
            await disk.repair()
        await fleet.restart(*services)
        outcomes = await asyncio.gather(*sent)
    assert {outcome.status for outcome in outcomes} == {OutcomeStatus.OK}
    await fleet.watcher.until(lambda: not troubles(fleet), "nobody in trouble")
    await fleet.watcher.until(lambda: is_in_force(fleet), "the policy in force")
    assert fleet.processes.died() is None


def is_in_force(fleet: WholeFleet) -> bool:
    plan = fleet.watcher.view.streams[STREAM].plan
    return plan is not None and plan.max_in_flight == 3


def troubles(fleet: WholeFleet) -> set[str]:
    view = fleet.watcher.view
    devices = {device.name for device in view.devices.values() if device.presence and device.presence.trouble}
    return devices | {service.name for service in view.services.values() if service.trouble}
