"""Every part of the real system is killed with SIGKILL while requests are under way; each request ends exactly once."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.embedded import EmbeddedBroker
from broker.mosquitto import MosquittoBroker, find_mosquitto
from services.cli.testbed.request_load import RequestLoad
from services.cli.testbed.run_record import RequestRecord
from shared.bus import topics
from shared.transport_mode import Carrier, TransportMode
from tests.support.whole_fleet import BROKER, CAMERA, EVERYTHING, FLEET, HELPER, SERVER, Tally, WholeFleet, open_fleet

REQUESTS = 40
A_FEW = 10
"""Requests that have an outcome before the bad moment may come, and that follow when the fleet is whole again."""

needs_mosquitto = pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto")
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]


@dataclass(frozen=True)
class Case:
    """Who is killed, and when: right after a message on this topic, of the stream that is called as the case.

    A receipt says that a feature map is whole at its receiver, who computes now.
    """

    victims: tuple[str, ...]
    moment: str
    comes_back_after_reroute: bool = False
    loses_requests: bool = False
    """What is under way is lost with the victims, so that it must be tried again."""


SOURCE, MIDDLE, LAST = (f"executor-{device}" for device in (CAMERA, HELPER, SERVER))
COMPUTING, COMPUTING_LAST = topics.receipts(CAMERA), topics.receipts(HELPER)
CASES = {
    "source-executor": Case((SOURCE,), COMPUTING, loses_requests=True),
    "source-accepting": Case((SOURCE,), topics.requests("source-accepting"), loses_requests=True),
    "middle-executor": Case((MIDDLE,), COMPUTING, comes_back_after_reroute=True, loses_requests=True),
    "last-executor": Case((LAST,), COMPUTING_LAST, loses_requests=True),
    "monitor": Case((f"monitor-{HELPER}",), COMPUTING),
    "collector": Case(("collector",), topics.results("collector")),
    "broker": Case((BROKER,), COMPUTING),
    "everything": Case(EVERYTHING, COMPUTING, loses_requests=True),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WholeFleet]:
    async with open_fleet(EmbeddedBroker(), tmp_path_factory.mktemp("embedded")) as running:
        yield running


@pytest.mark.parametrize("name", CASES)
async def test_each_request_ends_exactly_once_when_this_dies(
    fleet: WholeFleet, name: str, record_property: Callable[[str, Any], None]
) -> None:
    await strike(fleet, name, CASES[name], record_property)


@pytest.mark.mosquitto
@needs_mosquitto
async def test_each_request_ends_exactly_once_when_mosquitto_dies(
    tmp_path: Path, record_property: Callable[[str, Any], None]
) -> None:
    async with open_fleet(MosquittoBroker(), tmp_path) as fleet:
        await strike(fleet, "mosquitto", CASES["broker"], record_property)


@pytest.mark.mosquitto
@needs_mosquitto
async def test_a_device_that_dies_together_with_mosquitto_is_avoided_although_nobody_says_that_it_is_gone(
    tmp_path: Path, record_property: Callable[[str, Any], None]
) -> None:
    stream, dead = "mosquitto-and-middle", (BROKER, MIDDLE, f"monitor-{HELPER}")
    async with open_fleet(MosquittoBroker(), tmp_path) as fleet:
        await fleet.declare(stream)
        async with fleet.load(stream) as load:
            await until_answered(fleet, stream, A_FEW)
            await fleet.watcher.next_on(COMPUTING)
            await fleet.kill(*dead)
            await fleet.restart(BROKER)
            await fleet.watcher.until(lambda: fleet.watcher.route(stream) == (CAMERA,), "a route without the dead")
            await until_answered(fleet, stream, REQUESTS)
            load.stop()
        await check(fleet, stream, load.records, record_property)


async def test_each_request_ends_exactly_once_when_devices_with_direct_connections_die(
    tmp_path: Path, record_property: Callable[[str, Any], None]
) -> None:
    stream = "direct"
    async with open_fleet(EmbeddedBroker(), tmp_path, described=replace(FLEET, transport=TransportMode.AUTO)) as fleet:
        await fleet.declare(stream)
        async with fleet.load(stream) as load:
            for victim in (LAST, MIDDLE, SOURCE):
                before = len(fleet.watcher.answered(stream))
                await until_answered(fleet, stream, before + A_FEW)
                assert any(
                    trace.transport is Carrier.DIRECT
                    for outcome in fleet.watcher.outcomes[stream]
                    for trace in outcome.trace
                )
                await fleet.watcher.next_on(topics.requests(stream))
                await fleet.kill(victim)
                await fleet.until_missed(victim)
                await fleet.restart(victim)
                await fleet.until_whole()
            await finish(fleet, stream, load)
        tally = await check(fleet, stream, load.records, record_property)
        assert tally.retried > 0


async def test_plans_keep_running_without_a_planner_that_dies_while_it_changes_one(
    fleet: WholeFleet, record_property: Callable[[str, Any], None]
) -> None:
    stream, watcher = "planner", fleet.watcher
    await fleet.declare(stream)
    async with fleet.load(stream) as load:
        await until_answered(fleet, stream, A_FEW)
        proposed = watcher.heard(topics.commands(SERVER))
        await fleet.set_policy(stream, replace(FLEET.policy, max_in_flight=3))
        await watcher.until(lambda: watcher.heard(topics.commands(SERVER)) > proposed, "a new epoch proposed")
        await fleet.kill("planner")
        await fleet.until_missed("planner")
        await until_answered(fleet, stream, len(watcher.answered(stream)) + A_FEW)
        await fleet.restart("planner")

        def is_in_force() -> bool:
            plan = watcher.view.streams[stream].plan
            return plan is not None and plan.max_in_flight == 3

        await watcher.until(is_in_force, "the policy in force")
        await finish(fleet, stream, load)
    await check(fleet, stream, load.records, record_property)
    await fleet.withdraw(stream)


async def until_answered(fleet: WholeFleet, stream: str, count: int) -> None:
    await fleet.watcher.until(lambda: len(fleet.watcher.answered(stream)) >= count, f"{count} outcomes")


async def finish(fleet: WholeFleet, stream: str, load: RequestLoad) -> None:
    """Go on until the fleet is whole, requests went through it, and there were enough of them; then submit no more."""
    await fleet.until_whole()
    await until_answered(fleet, stream, max(REQUESTS, len(fleet.watcher.answered(stream)) + A_FEW))
    load.stop()


async def strike(fleet: WholeFleet, name: str, case: Case, record_property: Callable[[str, Any], None]) -> None:
    """Submit requests, kill the case's victims at its moment, start them again, and count."""
    await fleet.declare(name)
    async with fleet.load(name) as load:
        await until_answered(fleet, name, A_FEW)
        await fleet.watcher.next_on(case.moment)
        killed_at_s = time.time()
        await fleet.kill(*case.victims)
        if BROKER not in case.victims:
            await fleet.until_missed(*case.victims)
        if case.comes_back_after_reroute:
            await fleet.watcher.until(lambda: HELPER not in fleet.watcher.route(name), "a route without the dead")
        await fleet.restart(*case.victims)
        await finish(fleet, name, load)
    tally = await check(fleet, name, load.records, record_property)
    assert [each for each in load.records if each.submitted_at_s < killed_at_s < each.finished_at_s]
    assert not case.loses_requests or tally.retried > 0
    await fleet.withdraw(name)


async def check(
    fleet: WholeFleet,
    stream: str,
    records: Sequence[RequestRecord],
    record_property: Callable[[str, Any], None],
) -> Tally:
    tally = await fleet.tally(stream, records)
    record_property("delivery", (stream, asdict(tally)))
    assert tally.faults == {}
    assert tally.accepted >= REQUESTS
    assert tally.errors == 0
    return tally
