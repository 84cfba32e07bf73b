"""A planner that is killed, a broker that comes back empty: plans go on, epochs count on, policies stay."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from services.planner.config import PlannerConfig
from services.planner.service import serve
from shared.bus import topics
from shared.bus.connection import Connection
from shared.exit_status import ExitStatus, InputError
from shared.messages.control import Prepare
from shared.messages.devices import State
from shared.messages.streams import CommittedPlan, StreamPhase
from tests.support.planner_fleet import Fleet, manifest_of, open_fleet
from tests.support.shared_paths import RUN_PLANNER

SCRIPT = RUN_PLANNER


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    async with EmbeddedBroker() as running:
        yield running


@asynccontextmanager
async def planner_process(broker: EmbeddedBroker, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(sys.executable, str(SCRIPT), broker.settings.address, str(folder))
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.wait_for(process.wait(), 60.0)


async def first_plan(fleet: Fleet) -> CommittedPlan:
    await fleet.come()
    await fleet.publish_manifest(manifest_of())
    await fleet.declare()
    return await fleet.watcher.plan()


async def test_a_killed_planner_goes_on_with_the_next_epoch(broker: EmbeddedBroker, tmp_path: Path) -> None:
    async with open_fleet(broker.settings) as fleet:
        async with planner_process(broker, tmp_path) as process:
            plan = await first_plan(fleet)
            await fleet.set_policy('{"max_in_flight": 3, "revision": "r1"}')
            second = await fleet.watcher.plan(lambda plan: plan.epoch == 2)
            assert second.max_in_flight == 3
            assert second.routes == plan.routes
            process.kill()
        fleet.watcher.statuses.clear()
        async with planner_process(broker, tmp_path):
            status = await fleet.watcher.status(lambda status: status.state is StreamPhase.RUNNING)
            assert (status.epoch, status.policy_revision) == (2, "r1")
            await fleet.pi.set_links({"server": 1.0})
            third = await fleet.watcher.plan(lambda plan: plan.epoch >= 3)
            assert third.epoch == 3
            assert third.max_in_flight == 3
        assert {plan.epoch for plan in fleet.watcher.plans} == {1, 2, 3}


async def test_an_epoch_that_was_only_proposed_is_never_used_again(broker: EmbeddedBroker, tmp_path: Path) -> None:
    async with open_fleet(broker.settings) as fleet:
        fleet.server.silent = True
        async with planner_process(broker, tmp_path) as process:
            await fleet.come()
            await fleet.publish_manifest(manifest_of())
            await fleet.declare()
            await fleet.watcher.command("server", Prepare)
            process.kill()
        fleet.server.silent = False
        async with planner_process(broker, tmp_path):
            assert (await fleet.watcher.plan()).epoch == 2


async def test_a_policy_is_put_in_force_although_the_planner_dies_before_the_plan_that_follows_from_it(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    async with open_fleet(broker.settings) as fleet:
        async with planner_process(broker, tmp_path) as process:
            await first_plan(fleet)
            fleet.server.silent = True
            await fleet.set_policy('{"max_in_flight": 3, "revision": "r1"}')
            await fleet.watcher.until(
                lambda: (
                    [said for _, said in fleet.watcher.commands if isinstance(said, Prepare) and said.epoch == 2]
                    or None
                ),
                "the second epoch proposed",
            )
            process.kill()
        fleet.server.silent = False
        async with planner_process(broker, tmp_path):
            plan = await fleet.watcher.plan(lambda plan: plan.epoch > 1)
            assert (plan.epoch, plan.max_in_flight) == (3, 3)


async def test_a_plan_is_left_alone_until_its_devices_are_online(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Broker and planner both restart: the planner has its plan, and no device has published its presence yet."""
    async with open_fleet(broker.settings) as fleet, planner_process(broker, tmp_path):
        await first_plan(fleet)
    async with EmbeddedBroker() as empty, open_fleet(empty.settings) as fleet, planner_process(empty, tmp_path):
        plan = await fleet.watcher.plan()
        await fleet.come()
        for device in fleet.devices.values():
            await device.profile(plan.model)
        await fleet.publish_manifest(manifest_of())
        await fleet.watcher.status(lambda status: status.state is StreamPhase.RUNNING)
        await fleet.pi.set_links({"server": 1.0})
        moved = await fleet.watcher.plan(lambda plan: plan.epoch > 1)
        assert moved.epoch == 2
        assert [each.epoch for each in fleet.watcher.plans] == [1, 2]


async def test_what_the_planner_owns_is_published_again_on_an_empty_broker(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    async with open_fleet(broker.settings) as fleet, planner_process(broker, tmp_path):
        plan = await first_plan(fleet)
        await fleet.set_policy('{"retry_limit": 7}')
        await fleet.watcher.plan(lambda plan: plan.retry_limit == 7)
        await broker.kill()
        await broker.start()
        async with Connection.open(broker.settings, connect_timeout_s=10.0) as connection:
            for topic in (
                topics.stream("camera"),
                topics.policy("camera"),
                topics.plan("camera"),
                topics.status("camera"),
            ):
                await connection.subscribe(topic)
            seen: dict[str, bytes] = {}
            async with asyncio.timeout(20.0):
                async for received in connection:
                    seen[received.topic] = bytes(received.payload)
                    if len(seen) == 4:
                        break
            republished = CommittedPlan.decode(seen[topics.plan("camera")])
            assert (republished.routes, republished.epoch) == (plan.routes, 2)
            assert b'"retry_limit": 7' in seen[topics.policy("camera")]


async def test_a_plan_found_on_the_broker_is_adopted_when_the_disk_is_lost(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    async with open_fleet(broker.settings) as fleet:
        async with planner_process(broker, tmp_path / "first"):
            await first_plan(fleet)
        async with planner_process(broker, tmp_path / "second"):
            await fleet.pi.set_links({"server": 1.0})
            plan = await fleet.watcher.plan(lambda plan: plan.routes[0].stages[0].device == "pi")
            assert plan.epoch == 2


async def test_a_folder_in_use_is_refused_in_one_line(broker: EmbeddedBroker, tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "planner.db", isolation_level=None)
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    database.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(InputError, match="another planner"):
            await serve(PlannerConfig(broker.settings, tmp_path))
    finally:
        database.close()


async def test_a_planner_publishes_that_it_is_offline_and_so_does_its_will(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    async with open_fleet(broker.settings) as fleet:
        async with planner_process(broker, tmp_path) as process:
            first = await fleet.watcher.planner()
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 60.0) == ExitStatus.DONE
            await fleet.watcher.until(lambda: fleet.watcher.services[-1].state is State.OFFLINE or None, "goodbye")
        async with planner_process(broker, tmp_path) as process:
            second = await fleet.watcher.planner()
            assert second.boot_id != first.boot_id
            assert second.role == "planner"
            process.kill()
            await fleet.watcher.until(lambda: fleet.watcher.services[-1].state is State.OFFLINE or None, "will")


async def test_no_broker_is_one_line_and_an_exit_status(tmp_path: Path) -> None:
    async with EmbeddedBroker() as stopped:
        address = stopped.settings.address
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), address, str(tmp_path), "1.0", stderr=asyncio.subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(process.communicate(), 20.0)
    assert process.returncode == ExitStatus.OUT_OF_REACH
    assert b"Traceback" not in errors
    assert b"no MQTT 5 broker reachable" in errors
