"""Policies over a real broker: accepted ones change the plan, refused ones change nothing and give reasons."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgpack
import pytest

from broker.embedded import EmbeddedBroker
from services.planner.config import PlannerConfig
from services.planner.service import serve
from shared.bus import topics
from shared.bus.connection import Connection
from shared.messages.events import EventKind, RerouteCause
from shared.messages.streams import CommittedPlan, StreamPhase
from tests.support.planner_fleet import Fleet, manifest_of, open_fleet


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with EmbeddedBroker() as broker, open_fleet(broker.settings) as opened:
        planner = asyncio.create_task(serve(PlannerConfig(broker.settings, tmp_path, time_budget_s=0.1)))
        await opened.come()
        await opened.publish_manifest(manifest_of())
        await opened.declare()
        await opened.watcher.plan()
        yield opened
        planner.cancel()
        await asyncio.wait([planner], timeout=10.0)


def devices_of(plan: CommittedPlan) -> list[str]:
    return [stage.device for route in plan.routes for stage in route.stages]


async def test_an_accepted_policy_moves_the_route(fleet: Fleet) -> None:
    await fleet.set_policy(msgpack.packb({"devices": {"deny": ["server"]}, "revision": 7}))
    plan = await fleet.watcher.plan(lambda plan: devices_of(plan) == ["pi"])
    status = await fleet.watcher.status(lambda status: status.policy_revision == "7")
    assert status.policy_accepted
    event = await fleet.watcher.event(EventKind.REROUTE, lambda event: event.data["epoch"] == plan.epoch)
    assert event.data["cause"] == RerouteCause.POLICY_CHANGED
    await fleet.watcher.event(EventKind.POLICY_ACCEPTED)


@pytest.mark.parametrize(
    ("document", "reasons"),
    [
        ('{"strategy": "magic", "colour": 1, "min_gain": "x"}', ("colour", "min_gain")),
        (
            '{"strategy": "magic", "devices": {"allow": ["pi", "moon"], "deny": ["pi"]}}',
            ("there is no 'magic'", "pi is allowed and denied", "there is no device 'moon'"),
        ),
        ('{"deadline_ms": 5}', ("past the deadline of 5 ms",)),
        ("nonsense", ("neither JSON nor msgpack",)),
    ],
)
async def test_a_refused_policy_changes_nothing_and_names_every_reason(
    fleet: Fleet, document: str, reasons: tuple[str, ...]
) -> None:
    await fleet.set_policy('{"retry_limit": 5, "revision": "good"}')
    good = await fleet.watcher.plan(lambda plan: plan.retry_limit == 5)
    await fleet.set_policy(document)
    status = await fleet.watcher.status(lambda status: not status.policy_accepted)
    for reason in reasons:
        assert any(reason in said for said in status.policy_reasons), status.policy_reasons
    assert status.state is StreamPhase.RUNNING
    await fleet.watcher.event(EventKind.POLICY_REFUSED)
    await fleet.pi.set_links({"server": 1.0})
    plan = await fleet.watcher.plan(lambda plan: plan.epoch > good.epoch)
    assert plan.retry_limit == 5
    async with Connection.open(fleet.settings) as reader:
        await reader.subscribe(topics.policy("camera"))
        async with asyncio.timeout(60.0):
            received = await anext(reader)
        assert b'"revision": "good"' in received.payload


async def test_the_deadline_that_cannot_be_met_names_what_the_best_plan_needs(fleet: Fleet) -> None:
    await fleet.set_policy('{"deadline_ms": 5, "revision": "tight"}')
    status = await fleet.watcher.status(lambda status: status.policy_revision == "tight")
    assert any(reason.startswith("stream camera: 39.000 ms") for reason in status.policy_reasons)


async def test_a_deadline_that_can_no_longer_be_met_is_in_the_status_and_the_fastest_plan_runs(fleet: Fleet) -> None:
    await fleet.set_policy('{"deadline_ms": 100}')
    await fleet.watcher.plan(lambda plan: plan.deadline_ms == 100)
    await fleet.pi.set_links({"server": 1.0})
    plan = await fleet.watcher.plan(lambda plan: devices_of(plan) == ["pi"])
    assert plan.deadline_ms == 100
    status = await fleet.watcher.status(
        lambda status: status.state is StreamPhase.INFEASIBLE and status.epoch == plan.epoch
    )
    assert "past the deadline of 100 ms" in status.reasons[0]
    fleet.watcher.statuses.clear()
    await fleet.pi.set_links({"server": 50.0})
    await fleet.watcher.status(lambda status: status.state is StreamPhase.RUNNING)


async def test_an_empty_policy_goes_back_to_the_default(fleet: Fleet) -> None:
    await fleet.set_policy('{"devices": {"deny": ["server"]}}')
    away = await fleet.watcher.plan(lambda plan: devices_of(plan) == ["pi"])
    await fleet.set_policy(b"")
    await fleet.watcher.plan(lambda plan: plan.epoch > away.epoch and devices_of(plan) == ["server"])


async def test_a_policy_may_come_before_its_stream(fleet: Fleet) -> None:
    await fleet.set_policy('{"devices": {"deny": ["server"]}, "revision": "early"}', stream="later")
    status = await fleet.watcher.status(lambda status: status.policy_revision == "early")
    assert status.stream == "later"
    assert status.policy_accepted
    assert status.state is StreamPhase.WAITING
    await fleet.declare("later")
    plan = await fleet.watcher.plan(lambda plan: plan.stream == "later")
    assert devices_of(plan) == ["pi"]
