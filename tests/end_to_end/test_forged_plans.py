"""Plans that the planner has not published, old ones, and cleared topics, at a live fleet with its real processes."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from broker.mosquitto import MosquittoBroker, find_mosquitto
from broker.process import BrokerProcess
from shared.bus import topics
from shared.bus.connection import Connection, Properties, Received
from shared.client import Client
from shared.messages.events import Event
from shared.messages.requests import OutcomeStatus
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage
from shared.signatures import SIGNATURE_PROPERTY, SigningKey
from tests.support.whole_fleet import CAMERA, FLEET, WholeFleet, open_fleet

STREAM = "door"
PLAN = topics.plan(STREAM)
needs_mosquitto = pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto")
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(
    params=["embedded", pytest.param("mosquitto", marks=[pytest.mark.mosquitto, needs_mosquitto])],
)
async def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[WholeFleet]:
    broker: BrokerProcess = EmbeddedBroker() if request.param == "embedded" else MosquittoBroker()
    async with open_fleet(broker, tmp_path) as running:
        yield running


async def answer(fleet: WholeFleet, count: int) -> None:
    payloads = list(itertools.islice(itertools.cycle(fleet.workload.payloads), count))
    async with Client.open(fleet.broker.settings) as client:
        outcomes = await client.submit_many(STREAM, payloads, timeout_s=90)
    assert [getattr(outcome, "status", outcome) for outcome in outcomes] == [OutcomeStatus.OK] * count


async def retained(fleet: WholeFleet, topic: str) -> Received:
    """Return what the broker holds for a topic, as soon as it holds something."""
    async with asyncio.timeout(60), Connection.open(fleet.broker.settings) as ear:
        await ear.subscribe(topic)
        async for received in ear:
            if received.payload:
                return received
    raise AssertionError("unreachable")


async def forge(fleet: WholeFleet, plan: CommittedPlan, **signature: str) -> None:
    user = {SIGNATURE_PROPERTY: signature["signature"]} if signature else {}
    await fleet.control.publish(PLAN, plan.encode(), retain=True, properties=Properties(user=user))


async def test_nobody_follows_a_plan_that_the_planner_has_not_published(fleet: WholeFleet) -> None:
    await fleet.declare(STREAM)
    await answer(fleet, 2)
    genuine = await retained(fleet, PLAN)
    plan = CommittedPlan.decode(genuine.payload)
    assert genuine.user[SIGNATURE_PROPERTY]
    # To a device that nobody has: a source that follows it answers nothing any more.
    blocks = plan.routes[0].stages[-1].stop
    stages = (PlanStage(start=0, stop=1, device=CAMERA), PlanStage(start=1, stop=blocks, device="thief"))
    thief = plan.model_copy(update={"epoch": plan.epoch + 3, "routes": (PlanRoute(stages=stages),)})
    whole_topic = f"{fleet.control.settings.root}/{PLAN}"
    forged = SigningKey.generate().sign(whole_topic, thief.encode(), 2**50)
    for signature in ({}, {"signature": forged}, {"signature": genuine.user[SIGNATURE_PROPERTY]}):
        await forge(fleet, thief, **signature)
        await answer(fleet, 2)
    # The planner has put its own plan back, also where the topic was cleared.
    await fleet.watcher.until(lambda: fleet.watcher.route(STREAM)[-1:] != ("thief",), "the plan of the planner")
    await fleet.control.publish(PLAN, b"", retain=True)
    restored = CommittedPlan.decode((await retained(fleet, PLAN)).payload)
    assert {stage.device for route in restored.routes for stage in route.stages} <= FLEET.devices.keys()
    # A source that starts beside a forged plan does not follow it either.
    await fleet.kill("planner", f"executor-{CAMERA}")
    await forge(fleet, thief, signature=forged)
    await fleet.restart(f"executor-{CAMERA}", "planner")
    await answer(fleet, 3)
    assert fleet.processes.died() is None


async def test_a_plan_of_the_past_is_not_followed_again(fleet: WholeFleet) -> None:
    await fleet.declare(STREAM)
    old = await retained(fleet, PLAN)
    first = CommittedPlan.decode(old.payload)
    await fleet.set_policy(STREAM, replace(FLEET.policy, max_in_flight=2))
    await fleet.watcher.until(lambda: newest(fleet).max_in_flight == 2, "a plan under the new policy")
    assert newest(fleet).epoch > first.epoch
    await answer(fleet, 2)
    executor = f"executor-{CAMERA}"
    await fleet.kill("planner", executor)
    replayed = Properties(user=old.user)
    await fleet.control.publish(PLAN, bytes(old.payload), retain=True, properties=replayed)
    events: list[str] = []
    async with Connection.open(fleet.broker.settings) as ear:
        await ear.subscribe(topics.events())
        await fleet.restart(executor)
        async with asyncio.timeout(60):
            async for received in ear:
                events.append(Event.decode(received.payload).text)
                if "older than a message that came before" in events[-1]:
                    break
    await fleet.restart("planner")
    await fleet.watcher.until(lambda: newest(fleet).epoch > first.epoch, "the plan of the planner")
    await answer(fleet, 2)


def newest(fleet: WholeFleet) -> CommittedPlan:
    plan = fleet.watcher.view.streams[STREAM].plan
    assert plan is not None
    return plan
