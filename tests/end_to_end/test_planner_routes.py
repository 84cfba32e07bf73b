"""The planner over a real broker: first plan, reroutes, rejections, devices that vanish."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from broker.embedded import EmbeddedBroker
from services.planner.config import PlannerConfig
from services.planner.service import serve
from shared.messages.control import Prepare, RejectionCause, Release
from shared.messages.events import EventKind, Reroute, RerouteCause
from shared.messages.streams import CommittedPlan, StreamPhase
from tests.support.planner_fleet import MODEL, Fleet, manifest_of, open_fleet, rejection


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with EmbeddedBroker() as broker, open_fleet(broker.settings) as opened:
        planner = asyncio.create_task(serve(PlannerConfig(broker.settings, tmp_path, time_budget_s=0.1)))
        yield opened
        planner.cancel()
        await asyncio.wait([planner], timeout=10.0)


def devices_of(plan: CommittedPlan) -> list[str]:
    return [stage.device for route in plan.routes for stage in route.stages]


async def start(fleet: Fleet) -> CommittedPlan:
    await fleet.come()
    await fleet.publish_manifest(manifest_of())
    await fleet.declare()
    return await fleet.watcher.plan()


async def test_first_plan_is_made_ready_before_it_is_committed(fleet: Fleet) -> None:
    plan = await start(fleet)
    assert plan.epoch == 1
    assert devices_of(plan) == ["server"]
    assert plan.routes[0].predicted_ms == pytest.approx(2 + 16 + 21)
    await fleet.watcher.status(lambda status: status.state is StreamPhase.RUNNING and status.epoch == 1)
    order = fleet.watcher.order
    prepared = next(
        index for index, each in enumerate(order) if isinstance(each, tuple) and isinstance(each[1], Prepare)
    )
    assert prepared < order.index(plan)
    event = await fleet.watcher.event(EventKind.REROUTE)
    reroute = Reroute.model_validate(event.data)
    assert reroute.cause is RerouteCause.FIRST_PLAN
    assert reroute.previous == ()
    assert reroute.predicted_before is None


async def test_a_link_that_slows_down_moves_the_route_with_a_reason(fleet: Fleet) -> None:
    first = await start(fleet)
    sent_at_s = await fleet.pi.set_links({"server": 1.0})
    plan = await fleet.watcher.plan(lambda plan: plan.epoch == 2)
    assert devices_of(plan) == ["pi"]
    # The planner's clock, at the arrival.
    assert sent_at_s <= (plan.trigger_at_s or 0.0) <= plan.committed_at_s
    event = await fleet.watcher.event(EventKind.REROUTE, lambda event: event.data["epoch"] == 2)
    reroute = Reroute.model_validate(event.data)
    assert reroute.cause is RerouteCause.LINK_CHANGED
    assert reroute.reason == "link pi->server fell from 50.0 to 1.0 Mbps: 823 ms -> 165 ms"
    assert (reroute.previous, reroute.chosen) == (first.routes, plan.routes)
    assert reroute.predicted_before == pytest.approx(823)
    assert reroute.predicted_after == pytest.approx(165)
    released = await fleet.watcher.command("server", Release)
    assert released.through_epoch == 1


async def test_load_moves_the_route_and_back_when_it_is_over(fleet: Fleet) -> None:
    await start(fleet)
    await fleet.set_policy('{"cooldown_ms": 0, "revision": "eager"}')
    await fleet.watcher.status(lambda status: status.policy_revision == "eager")
    await fleet.server.set_load(20.0)
    away = await fleet.watcher.plan(lambda plan: devices_of(plan) == ["pi"])
    event = await fleet.watcher.event(EventKind.REROUTE, lambda event: event.data["epoch"] == away.epoch)
    assert event.data["cause"] == RerouteCause.LOAD_CHANGED
    assert "server rose from 1.0 to 20.0" in event.text
    sent_at_s = await fleet.server.set_load(1.0)
    back = await fleet.watcher.plan(lambda plan: plan.epoch > away.epoch and devices_of(plan) == ["server"])
    assert sent_at_s <= (back.trigger_at_s or 0.0) <= back.committed_at_s


async def test_a_device_in_use_that_vanishes_is_replaced_at_once(fleet: Fleet) -> None:
    await start(fleet)
    await fleet.set_policy('{"cooldown_ms": 1000000, "revision": "calm"}')
    await fleet.watcher.status(lambda status: status.policy_revision == "calm")
    await fleet.server.go()
    plan = await fleet.watcher.plan(lambda plan: devices_of(plan) == ["pi"])
    event = await fleet.watcher.event(EventKind.REROUTE, lambda event: event.data["epoch"] == plan.epoch)
    assert event.data["cause"] == RerouteCause.DEVICE_LOST
    await fleet.watcher.event(EventKind.DEVICE_LOST, lambda event: event.device == "server")


async def test_the_cooldown_delays_the_next_reroute(fleet: Fleet) -> None:
    await start(fleet)
    await fleet.set_policy('{"cooldown_ms": 1500}')
    await fleet.pi.set_links({"server": 1.0})
    away = await fleet.watcher.plan(lambda plan: devices_of(plan) == ["pi"])
    sent_at_s = await fleet.pi.set_links({"server": 50.0})
    back = await fleet.watcher.plan(lambda plan: plan.epoch > away.epoch)
    assert back.committed_at_s - away.committed_at_s >= 1.5
    assert sent_at_s <= (back.trigger_at_s or 0.0) <= back.committed_at_s


async def test_a_rejected_choice_is_not_made_again(fleet: Fleet) -> None:
    fleet.server.reject = lambda prepare: rejection(prepare, "server")
    plan = await start(fleet)
    assert devices_of(plan) == ["pi"]
    assert plan.epoch == 2
    event = await fleet.watcher.event(EventKind.REJECTION)
    assert event.device == "server"
    assert "it does not work" in event.text
    rerouted = await fleet.watcher.event(EventKind.REROUTE)
    assert rerouted.data["cause"] == RerouteCause.REJECTED
    assert rerouted.data["previous"] == []


async def test_a_device_short_of_memory_gets_a_smaller_segment(fleet: Fleet) -> None:
    def reject(prepare: Prepare) -> object:
        blocks = sum(segment.stop - segment.start for segment in prepare.segments)
        return rejection(prepare, "server", RejectionCause.MEMORY, "too much") if blocks == 5 else None

    fleet.server.reject = reject  # type: ignore[assignment]
    plan = await start(fleet)
    assert devices_of(plan) == ["pi", "server"] or devices_of(plan) == ["server", "pi"]


async def test_when_nothing_is_left_the_stream_is_infeasible_with_every_reason(fleet: Fleet) -> None:
    for device in fleet.devices.values():
        device.reject = device.full
    await fleet.come()
    await fleet.publish_manifest(manifest_of())
    await fleet.declare()
    status = await fleet.watcher.status(
        lambda status: status.state is StreamPhase.INFEASIBLE and "pi: pi is full" in status.reasons
    )
    assert "server: server is full" in status.reasons
    assert status.epoch == 0
    await fleet.watcher.event(EventKind.INFEASIBLE)


async def test_a_device_lost_while_it_prepares_ends_the_proposal(fleet: Fleet) -> None:
    fleet.server.silent = True
    await fleet.come()
    await fleet.publish_manifest(manifest_of())
    await fleet.declare()
    await fleet.watcher.command("server", Prepare)
    await fleet.server.go()
    plan = await fleet.watcher.plan()
    assert devices_of(plan) == ["pi"]
    assert plan.epoch == 2


async def test_a_waiting_stream_gives_its_reasons(fleet: Fleet) -> None:
    await fleet.declare()
    await fleet.watcher.status(
        lambda status: status.reasons == ("source device pi is unknown", "model net is not in the library")
    )
    fleet.server.profiles = False
    await fleet.come()
    await fleet.publish_manifest(manifest_of())
    await fleet.watcher.status(lambda status: "device server is measuring model net" in status.reasons)
    await fleet.server.profile(MODEL)
    assert devices_of(await fleet.watcher.plan()) == ["server"]


async def test_a_withdrawn_stream_leaves_nothing_behind(fleet: Fleet) -> None:
    await start(fleet)
    await fleet.declare(model="")
    released = await fleet.watcher.command("server", Release)
    assert released.through_epoch == 1
    await fleet.declare()
    assert (await fleet.watcher.plan(lambda plan: plan.epoch > 1)).epoch == 2


async def test_a_malformed_message_is_announced_once_and_dropped(fleet: Fleet) -> None:
    await start(fleet)
    for _ in range(3):
        await fleet.connection.publish("devices/pi/links", b"\xc1nonsense")
    event = await fleet.watcher.event(EventKind.BAD_MESSAGE)
    assert "devices/pi/links" in event.text
    await fleet.pi.set_links({"server": 1.0})
    await fleet.watcher.plan(lambda plan: plan.epoch == 2)
    assert [each.kind for each in fleet.watcher.events].count(EventKind.BAD_MESSAGE) == 1


async def test_nothing_blocks_the_event_loop(tmp_path: Path) -> None:
    async with EmbeddedBroker() as broker, open_fleet(broker.settings) as fleet:
        with blockbuster_ctx("services.planner"):
            planner = asyncio.create_task(serve(PlannerConfig(broker.settings, tmp_path, time_budget_s=0.1)))
            await start(fleet)
            await fleet.set_policy('{"retry_limit": 4}')
            await fleet.watcher.plan(lambda plan: plan.retry_limit == 4)
            await fleet.declare(model="")
            await fleet.watcher.command("server", Release)
            planner.cancel()
            await asyncio.wait([planner], timeout=10.0)
        assert planner.cancelled()


async def test_streams_share_the_memory_of_a_device(fleet: Fleet) -> None:
    await fleet.pi.come()
    await fleet.server.come(memory_bytes=5_000_000)
    await fleet.publish_manifest(manifest_of())
    await fleet.declare()
    assert devices_of(await fleet.watcher.plan()) == ["server"]
    await fleet.declare("second")
    second = await fleet.watcher.plan(lambda plan: plan.stream == "second")
    assert devices_of(second) == ["pi"]


async def test_a_busy_device_is_left_to_the_stream_that_has_it(fleet: Fleet) -> None:
    await fleet.come()
    await fleet.publish_manifest(manifest_of())
    await fleet.declare(rate_hz=38.0)
    assert devices_of(await fleet.watcher.plan()) == ["server"]
    fleet.pi.block_ms = (5.0, 20.0, 20.0, 20.0, 20.0)
    await fleet.pi.profile(MODEL)
    await fleet.declare("second")
    second = await fleet.watcher.plan(lambda plan: plan.stream == "second")
    assert devices_of(second) == ["pi"]
