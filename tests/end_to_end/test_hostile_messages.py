"""Hostile messages of every class at a live fleet: all processes stay alive and answer, also after a restart."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from broker.mosquitto import MosquittoBroker, find_mosquitto
from broker.process import BrokerProcess
from shared.client import Client
from shared.messages.requests import OutcomeStatus
from tests.support.hostile_messages import hostile_messages, names_in_topics
from tests.support.whole_fleet import BROKER, CAMERA, EVERYTHING, HELPER, WholeFleet, open_fleet

STREAM = "door"
PER_CLASS = 12
needs_mosquitto = pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto")
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(
    params=["embedded", pytest.param("mosquitto", marks=[pytest.mark.mosquitto, needs_mosquitto])],
)
async def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[WholeFleet]:
    broker: BrokerProcess = EmbeddedBroker() if request.param == "embedded" else MosquittoBroker()
    async with open_fleet(broker, tmp_path) as running:
        yield running


async def test_a_fleet_survives_hostile_messages_and_a_restart_beside_the_retained_ones(fleet: WholeFleet) -> None:
    await fleet.declare(STREAM)
    await answer(fleet, 3)
    sent = 0
    names = names_in_topics(fleet.workload.manifest.model, stream=STREAM, source=CAMERA, device=HELPER)
    for message in hostile_messages(names, PER_CLASS):
        await fleet.control.publish(message.topic, message.payload, retain=message.retain)
        sent += 1
    assert sent >= 200
    await answer(fleet, 5)
    assert fleet.processes.died() is None
    services = tuple(part for part in EVERYTHING if part != BROKER)
    await fleet.kill(*services)
    await fleet.restart(*services)
    await answer(fleet, 5)
    assert fleet.processes.died() is None


async def answer(fleet: WholeFleet, count: int) -> None:
    """Submit requests, and check that each has a right result."""
    payloads = list(itertools.islice(itertools.cycle(fleet.workload.payloads), count))
    async with Client.open(fleet.broker.settings) as client:
        outcomes = await client.submit_many(STREAM, payloads, timeout_s=90)
    statuses = [getattr(outcome, "status", outcome) for outcome in outcomes]
    assert statuses == [OutcomeStatus.OK] * count
