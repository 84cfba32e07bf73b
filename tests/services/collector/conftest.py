"""A database of its own for every test, and a real broker."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from services.collector.outcome_store import OutcomeStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "collector.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[OutcomeStore]:
    store = OutcomeStore(path)
    yield store
    store.close()


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    async with EmbeddedBroker() as running:
        yield running
