"""A real broker, monitors on real connections, and a subscriber that reads what they publish."""

from collections.abc import AsyncIterator

import pytest

from broker.embedded import EmbeddedBroker
from shared.bus import topics
from shared.bus.connection import Connection
from tests.support.monitor_world import MonitoredFleet, RunMonitors, monitors_of


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    async with EmbeddedBroker() as running:
        yield running


@pytest.fixture
async def fleet(broker: EmbeddedBroker) -> AsyncIterator[MonitoredFleet]:
    async with Connection.open(broker.settings) as connection:
        for topic_filter in (topics.links.any, topics.telemetry.any, topics.service_presence.any):
            await connection.subscribe(topic_filter)
        yield MonitoredFleet(connection)


@pytest.fixture
def run_monitors(broker: EmbeddedBroker) -> RunMonitors:
    return monitors_of(broker.settings)
