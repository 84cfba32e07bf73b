"""Hostile messages of every class at a live fleet: all processes stay alive and answer, also after a restart."""

import itertools
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from broker.embedded import EmbeddedBroker
from broker.mosquitto import MosquittoBroker, find_mosquitto
from broker.process import BrokerProcess
from shared.asyncapi import message_classes
from shared.bus import topics
from shared.bus.topic import Topic
from shared.client import Client
from shared.messages.base import Message, MessageError
from shared.messages.requests import OutcomeStatus
from tests.support.hostile_messages import hostile_documents
from tests.support.shared_paths import GOLDEN
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
    for topic, payload, retained in hostile_messages(fleet.workload.manifest.model):
        await fleet.control.publish(topic, payload, retain=retained)
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


def hostile_messages(model: str) -> Iterator[tuple[str, bytes, bool]]:
    """Yield topic, payload and retain flag of messages that every reader must refuse, for every class."""
    names = {
        "device": HELPER,
        "stream": STREAM,
        "model": model,
        "name": "collector",
        "provider": "planner",
        "receiver": CAMERA,
        "asker": "somebody",
    }
    for kind in message_classes():
        if kind.TOPIC is None or kind.TOPIC is topics.inbox:
            continue
        message = kind.decode((GOLDEN / "messages" / f"{kind.__name__}.json").read_bytes())
        known = {name: names[name] for name in names if isinstance(getattr(message, name, None), str)}
        documents = refused(kind, hostile_documents(message.model_copy(update=known)))
        # Spread over all fields, not the first ones.
        chosen = documents[:: max(1, len(documents) // PER_CLASS)][:PER_CLASS]
        topic = topic_of(kind.TOPIC, names)
        yield from ((topic, payload, kind.TOPIC.retained) for payload in chosen)
        if kind.TOPIC.retained:
            yield topic, b"\xff garbage", True
    for payload in (b"\xff garbage", json.dumps({"objective": ["x"] * 1000}).encode()):
        yield topics.policy(STREAM), payload, True


def refused(kind: type[Message], documents: Iterator[dict[str, Any]]) -> list[bytes]:
    """Return the payloads of the documents that are refused.

    Others are forgeries that only the broker's accounts prevent, such as a declaration with another source.
    """
    payloads = []
    for document in documents:
        try:
            payload = msgpack.packb(document)
            kind.decode(payload)
        except MessageError:
            payloads.append(payload)
        except (ValueError, OverflowError):
            continue
    return payloads


def topic_of(topic: Topic[...], names: dict[str, str]) -> str:
    return topic(*(names[parameter] for parameter in topic.parameters))
