"""A database of its own for every test, and a real broker."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from services.collector.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "collector.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    async with EmbeddedBroker() as running:
        yield running
