"""A collector on a real broker loses nothing and stores nothing twice, whichever process is killed."""

import asyncio
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from broker.process import free_port
from services.collector.config import CollectorConfig
from services.collector.outcome_store import ReceivedRecord, WriteResult
from services.collector.outcome_store_thread import OutcomeStoreThread
from services.collector.query import CollectorRecords
from services.collector.query_results import OutcomeCounts
from services.collector.service import serve
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.errors import BrokerUnreachable
from shared.bus.mqtt.properties import Properties
from shared.exit_status import InputError
from shared.messages.devices import Presence, ServicePresence, State, Telemetry
from shared.messages.requests import Confirmation, Outcome
from tests.support.collector_world import failure, reroute_event, result

WAIT_S = 30.0

PROGRAM = (
    "import asyncio, sys; from pathlib import Path; from services.collector.config import CollectorConfig; "
    "from services.collector.service import serve; from shared.bus.settings import BusSettings; "
    "asyncio.run(serve(CollectorConfig(BusSettings.from_address(sys.argv[1]), Path(sys.argv[2]))))"
)


class Source:
    """Publishes outcomes as executors do, and reads what the collector publishes."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.confirmed: set[str] = set()

    async def publish(self, *outcomes: Outcome) -> None:
        for outcome in outcomes:
            await self.connection.publish(topics.results(outcome.stream), outcome.encode_json())

    async def until_confirmed(self, *request_ids: str) -> None:
        async with asyncio.timeout(WAIT_S):
            while not self.confirmed >= set(request_ids):
                await self._hear()

    async def until_presence(self, state: State) -> ServicePresence:
        async with asyncio.timeout(WAIT_S):
            while True:
                presence = await self._hear()
                if presence is not None and presence.state is state:
                    return presence

    async def _hear(self) -> ServicePresence | None:
        received = await anext(self.connection)
        if received.topic == topics.confirmations():
            self.confirmed.update(Confirmation.decode(received.payload).request_ids)
            return None
        return ServicePresence.decode(received.payload)


@pytest.fixture
async def source(broker: EmbeddedBroker) -> AsyncIterator[Source]:
    async with Connection.open(broker.settings) as connection:
        await connection.subscribe(topics.confirmations())
        await connection.subscribe(topics.service_presence.any)
        yield Source(connection)


@asynccontextmanager
async def running(config: CollectorConfig) -> AsyncIterator[None]:
    task = asyncio.create_task(serve(config))
    try:
        yield
    finally:
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(outcome, Exception):
            raise outcome


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Return an event that every batch sets that the collector has written."""
    event = asyncio.Event()
    write = OutcomeStoreThread.write

    async def observed(store: OutcomeStoreThread, arrivals: Sequence[ReceivedRecord]) -> tuple[WriteResult, ...]:
        results = await write(store, arrivals)
        event.set()
        return results

    monkeypatch.setattr(OutcomeStoreThread, "write", observed)
    return event


async def until(written: asyncio.Event, config: CollectorConfig, accept: Callable[[CollectorRecords], bool]) -> None:
    """Wait until the database accepts; for messages that the collector stores but does not confirm."""
    async with asyncio.timeout(WAIT_S):
        while True:
            written.clear()
            with CollectorRecords.open(config.database) as records:
                if accept(records):
                    return
            await written.wait()


def counts(config: CollectorConfig) -> OutcomeCounts:
    with CollectorRecords.open(config.database) as records:
        return records.counts()


async def test_outcomes_are_stored_then_confirmed(broker: EmbeddedBroker, source: Source, tmp_path: Path) -> None:
    config = CollectorConfig(broker.settings, tmp_path)
    async with running(config):
        await source.until_presence(State.ONLINE)
        await source.publish(result("r1"), failure("r2"), result("r1", attempt=2), failure("r3"))
        # Outcomes are stored in the order of arrival, so the confirmation of the last follows all of them.
        await source.until_confirmed("r3")
        assert source.confirmed == {"r1", "r2", "r3"}
        assert (counts(config).results, counts(config).errors, counts(config).duplicates) == (1, 2, 1)
    await source.until_presence(State.OFFLINE)


async def test_an_outcome_that_is_stored_already_is_confirmed_again(
    broker: EmbeddedBroker, source: Source, tmp_path: Path
) -> None:
    async with running(CollectorConfig(broker.settings, tmp_path)):
        await source.until_presence(State.ONLINE)
        await source.publish(result("r1"))
        await source.until_confirmed("r1")
        source.confirmed.clear()
        await source.publish(result("r1"))
        await source.until_confirmed("r1")


async def test_sigkill_loses_nothing_and_stores_nothing_twice(
    broker: EmbeddedBroker, source: Source, tmp_path: Path
) -> None:
    config = CollectorConfig(broker.settings, tmp_path)
    ids = [f"r{number}" for number in range(600)]

    async def start() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, broker.settings.address, str(tmp_path)
        )

    async def flow() -> None:
        for request_id in ids:
            await source.publish(result(request_id))

    process = await start()
    try:
        first = await source.until_presence(State.ONLINE)
        flowing = asyncio.create_task(flow())
        await source.until_confirmed("r50")
        process.kill()
        await process.wait()
        await source.until_presence(State.OFFLINE)
        process = await start()
        second = await source.until_presence(State.ONLINE)
        assert second.boot_id != first.boot_id
        await flowing
        await source.until_confirmed(*ids)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    with CollectorRecords.open(config.database) as records:
        assert records.missing("camera", ids) == ()
        assert (records.counts().results, records.counts().duplicates) == (600, 0)


async def test_what_was_published_while_it_was_away_is_stored(
    broker: EmbeddedBroker, source: Source, tmp_path: Path
) -> None:
    config = CollectorConfig(broker.settings, tmp_path)
    async with running(config):
        await source.until_presence(State.ONLINE)
    await source.until_presence(State.OFFLINE)
    await source.connection.publish(topics.events(), reroute_event().encode())
    await source.publish(result("r1"))
    async with running(config):
        # Events and outcomes share a session and are stored in order, so the event is on disk with the outcome.
        await source.until_confirmed("r1")
        with CollectorRecords.open(config.database) as records:
            assert len(records.reroutes()) == 1


async def test_retained_presence_is_seen_by_a_collector_that_comes_back(
    broker: EmbeddedBroker, source: Source, tmp_path: Path, written: asyncio.Event
) -> None:
    config = CollectorConfig(broker.settings, tmp_path)
    async with running(config):
        await source.until_presence(State.ONLINE)
    presence = Presence(device="pi", state=State.ONLINE, boot_id="b1")
    await source.connection.publish(topics.presence("pi"), presence.encode(), retain=True)
    async with running(config):
        await until(written, config, lambda records: [device.online for device in records.devices()] == [True])


async def test_after_the_broker_came_back_empty_it_announces_itself_and_goes_on(
    broker: EmbeddedBroker, source: Source, tmp_path: Path
) -> None:
    async with running(CollectorConfig(broker.settings, tmp_path)):
        await source.until_presence(State.ONLINE)
        await broker.kill()
        await broker.start()
        await source.until_presence(State.ONLINE)
        await source.publish(result("r1"))
        await source.until_confirmed("r1")


async def test_malformed_messages_are_dropped_logged_once_and_told(
    broker: EmbeddedBroker, source: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    async with running(CollectorConfig(broker.settings, tmp_path, metrics_port=port)):
        await source.until_presence(State.ONLINE)
        for _ in range(30):
            await source.connection.publish(topics.results("camera"), b"\xc1garbage")
            await source.connection.publish(topics.telemetry("pi"), b"{}")
        await source.publish(result("r1"))
        await source.until_confirmed("r1")

        def scrape() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
                return str(response.read(), "utf-8")

        page = await asyncio.to_thread(scrape)
        assert 'segue_bad_messages_total{topic="results"} 30.0' in page
        assert 'segue_results_total{stream="camera"} 1.0' in page
    dropped = [record for record in caplog.records if record.getMessage().startswith("dropped a message")]
    assert len(dropped) == 2


async def test_watched_requests_without_outcome_are_lost(
    broker: EmbeddedBroker, source: Source, tmp_path: Path, written: asyncio.Event
) -> None:
    config = CollectorConfig(broker.settings, tmp_path, watch_requests=True)
    async with running(config):
        await source.until_presence(State.ONLINE)
        for request_id in ("r1", "r2"):
            properties = Properties(user={"request_id": request_id})
            await source.connection.publish(topics.requests("camera"), b"jpeg", properties=properties)
        await source.publish(result("r1"))
        await until(written, config, lambda records: (records.counts().requests, records.counts().lost) == (2, 1))
        with CollectorRecords.open(config.database) as records:
            assert records.missing("camera", ["r1", "r2"]) == ("r2",)


async def test_samples_are_stored(
    broker: EmbeddedBroker, source: Source, tmp_path: Path, written: asyncio.Event
) -> None:
    config = CollectorConfig(broker.settings, tmp_path)
    presence = Presence(device="pi", state=State.ONLINE)
    await source.connection.publish(topics.presence("pi"), presence.encode(), retain=True)
    async with running(config):
        await source.until_presence(State.ONLINE)
        telemetry = Telemetry(device="pi", sent_at_s=5.0, load_factor=2.0)
        await source.connection.publish(topics.telemetry("pi"), telemetry.encode())
        await until(written, config, lambda records: [device.load_factor for device in records.devices()] == [2.0])


async def test_a_folder_that_cannot_be_used_is_the_users_to_change(broker: EmbeddedBroker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be used"):
        await serve(CollectorConfig(broker.settings, tmp_path / "file"))


async def test_a_broker_out_of_reach_is_an_error(broker: EmbeddedBroker, tmp_path: Path) -> None:
    await broker.stop()
    with pytest.raises(BrokerUnreachable):
        await serve(CollectorConfig(broker.settings, tmp_path, connect_timeout_s=0.3))
