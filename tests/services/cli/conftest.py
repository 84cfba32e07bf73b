"""Fixtures of the command line's tests: a broker without a fleet, and the `segue` command against it."""

import asyncio
import subprocess
from collections.abc import AsyncIterator

import pytest

from broker.embedded import EmbeddedBroker
from shared.bus.settings import BusSettings
from tests.support.segue_command import SegueOnBus, run_segue


@pytest.fixture
async def bus() -> AsyncIterator[BusSettings]:
    """A broker to which nobody is connected."""
    async with EmbeddedBroker() as broker:
        yield broker.settings


@pytest.fixture
def segue_on_bus(bus: BusSettings) -> SegueOnBus:
    """Run `segue ARGUMENTS --broker ADDRESS` beside the test's event loop."""

    async def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(run_segue, *arguments, "--broker", bus.address)

    return run
