"""The collector: stores every outcome before it confirms and acknowledges it; keeps traces, events and samples."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from services.collector.config import CollectorConfig
from services.collector.errors import StoreUnavailable
from services.collector.inbound import CONTROL, DURABLE, REQUESTS, Record, ingest, topic_kind
from services.collector.metrics import Metrics
from services.collector.outcome_store import ReceivedRecord, StoreOutcomeKind
from services.collector.outcome_store_thread import StoreThread
from shared.bus import topics
from shared.bus.connection import Connection, Received, Will
from shared.bus.errors import BusError, SubscriptionFailed
from shared.duplicate_names import NameClaim, hold_name
from shared.messages.base import MessageError
from shared.messages.devices import ServicePresence, State
from shared.messages.reject_counter import RejectCounter
from shared.messages.requests import Confirmation, Outcome
from shared.service_runtime import InputError, lock_directory, new_boot_id, segue_version

LOGGER = logging.getLogger(__name__)

_RECEIVE_MAXIMUM = 500
_QUEUE_LIMIT = 2000
_CONFIRMED_AT_ONCE = 500
_FAREWELL_S = 2.0
_RETRY_S = 1.0
_GAUGE_INTERVAL_S = 1.0


async def serve(config: CollectorConfig) -> None:
    """Run a collector until it is cancelled.

    Raises:
        BusError: the broker is not reached in time, or refuses access.
        InputError: the database cannot be used, another process uses it, another collector has the name, or the
            metrics' port is taken.
    """
    async with lock_directory(config.data_dir):
        await Collector(config).run()


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A record on its way to the disk, and the message to acknowledge then."""

    arrival: ReceivedRecord
    received: Received


class Collector:
    """The shell around `ingest`, `Store` and `Metrics`."""

    def __init__(self, config: CollectorConfig) -> None:
        """Prepare; nothing is connected yet."""
        self._config = config
        self._metrics = Metrics()
        self._rejects = RejectCounter()
        self._boot_id = new_boot_id()
        self._durable: Connection | None = None
        self._to_store: asyncio.Queue[_Waiting] = asyncio.Queue(_QUEUE_LIMIT)
        self._stored: asyncio.Queue[_Waiting] = asyncio.Queue(_QUEUE_LIMIT)

    async def run(self) -> None:
        """Connect, store and confirm until cancelled; then say goodbye."""
        config = self._config
        async with AsyncExitStack() as stack:
            try:
                store = await stack.enter_async_context(StoreThread.open(config.database, config.limits))
            except StoreUnavailable as error:
                raise InputError(str(error)) from error
            if config.metrics_port is not None:
                endpoint = stack.enter_context(self._metrics.serve(config.metrics_host, config.metrics_port))
                LOGGER.info("metrics at http://%s:%d/metrics", endpoint.host, endpoint.port)
            claim = NameClaim.of_service(self._presence(State.ONLINE), "give this one a name of its own, --name")
            await stack.enter_async_context(hold_name(config.broker, claim, config.connect_timeout_s))
            durable = await stack.enter_async_context(
                Connection.open(
                    config.broker,
                    client_id=f"{config.name}-results",
                    persistent_session=True,
                    manual_ack=True,
                    receive_maximum=_RECEIVE_MAXIMUM,
                    connect_timeout_s=config.connect_timeout_s,
                )
            )
            # A resumed session of the embedded broker gets no retained messages, hence the second connection.
            control = await stack.enter_async_context(
                Connection.open(
                    config.broker,
                    client_id=config.name,
                    will=Will(topics.service(config.name), self._presence(State.OFFLINE).encode()),
                    on_connected=self._announce_again,
                    connect_timeout_s=config.connect_timeout_s,
                )
            )
            try:
                await self._collect(store, durable, control)
            finally:
                await self._say_goodbye(control)

    async def _collect(self, store: StoreThread, durable: Connection, control: Connection) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(durable), name="listen to outcomes")
            group.create_task(self._listen(control), name="listen to control")
            group.create_task(self._store(store), name="store")
            group.create_task(self._confirm(control), name="confirm")
            group.create_task(self._gauge(durable, control), name="gauge")
            # Only now: a broker that resumes a session may send what waits before it answers a subscription.
            await _subscribe_durably(durable)
            self._durable = durable
            await self._announce(control)

    async def _announce_again(self, control: Connection) -> None:
        if self._durable is not None:
            with contextlib.suppress(SubscriptionFailed):
                await _subscribe_durably(self._durable)
            await self._announce(control)

    async def _announce(self, control: Connection) -> None:
        """Listen first; sources that hear of this collector send again what it has not confirmed."""
        filters = {**CONTROL, REQUESTS: 0} if self._config.watch_requests else CONTROL
        for topic_filter, qos in filters.items():
            await control.subscribe(topic_filter, qos)
        await control.publish(topics.service(self._config.name), self._presence(State.ONLINE).encode(), retain=True)

    async def _say_goodbye(self, control: Connection) -> None:
        topic, presence = topics.service(self._config.name), self._presence(State.OFFLINE).encode()
        try:
            await control.publish(topic, presence, retain=True, timeout_s=_FAREWELL_S)
        except BusError as error:
            LOGGER.debug("could not say goodbye: %s", error)

    def _presence(self, state: State) -> ServicePresence:
        return ServicePresence(
            name=self._config.name,
            role="collector",
            state=state,
            version=segue_version(),
            boot_id=self._boot_id,
        )

    async def _listen(self, connection: Connection) -> None:
        """Queue what comes in; a full queue holds the broker back."""
        async for received in connection:
            record = self._ingest(received)
            if record is None:
                received.acknowledge()
            else:
                await self._to_store.put(_Waiting(ReceivedRecord(record, time.time()), received))

    def _ingest(self, received: Received) -> Record | None:
        try:
            return ingest(received.topic, received.payload, received.properties)
        except MessageError as error:
            self._reject(received.topic, str(error))
            return None

    def _reject(self, topic: str, reason: str) -> None:
        self._metrics.bad_message(topic_kind(topic))
        if self._rejects.add(topic, reason):
            LOGGER.warning("dropped a message on %s: %s", topic, reason)

    async def _store(self, store: StoreThread) -> None:
        while True:
            batch = await self._next_batch()
            verdicts = await self._write(store, batch)
            for waiting, verdict in zip(batch, verdicts, strict=True):
                if verdict is StoreOutcomeKind.REFUSED:
                    self._reject(waiting.received.topic, "it does not fit into the database")
                self._metrics.stored(waiting.arrival.record, verdict)
                await self._stored.put(waiting)

    async def _next_batch(self) -> Sequence[_Waiting]:
        """Wait for a record, then for those that follow within the batch's time."""
        batch = [await self._to_store.get()]
        try:
            async with asyncio.timeout(self._config.batch_s):
                while len(batch) < self._config.batch_messages:
                    batch.append(await self._to_store.get())
        except TimeoutError:
            LOGGER.debug("stored %d messages after waiting for more", len(batch))
        return batch

    async def _write(self, store: StoreThread, batch: Sequence[_Waiting]) -> tuple[StoreOutcomeKind, ...]:
        """Store a batch, however long it takes; nothing is acknowledged meanwhile, so that nothing is lost."""
        arrivals = [waiting.arrival for waiting in batch]
        is_known = False
        while True:
            try:
                return await store.write(arrivals)
            except StoreUnavailable as error:
                LOGGER.log(logging.DEBUG if is_known else logging.ERROR, "%s; trying again", error)
                is_known = True
                await asyncio.sleep(_RETRY_S)

    async def _confirm(self, control: Connection) -> None:
        """Tell the sources what is on disk, and only then the broker: whoever dies between, all is confirmed."""
        while True:
            done = [await self._stored.get()]
            while len(done) < _CONFIRMED_AT_ONCE and not self._stored.empty():
                done.append(self._stored.get_nowait())
            outcomes = (waiting.arrival.record for waiting in done)
            await self._publish_confirmation(
                control, [each.request_id for each in outcomes if isinstance(each, Outcome)]
            )
            for waiting in done:
                waiting.received.acknowledge()

    async def _publish_confirmation(self, control: Connection, request_ids: Sequence[str]) -> None:
        if not request_ids:
            return
        confirmation = Confirmation(collector=self._config.name, request_ids=tuple(dict.fromkeys(request_ids)))
        try:
            await control.publish(topics.CONFIRMATIONS, confirmation.encode())
        except BusError as error:
            LOGGER.warning("outcomes are not confirmed, their sources will send them again: %s", error)

    async def _gauge(self, durable: Connection, control: Connection) -> None:
        while True:
            self._metrics.connection("results", durable.is_connected)
            self._metrics.connection("control", control.is_connected)
            self._metrics.waiting(self._to_store.qsize())
            await asyncio.sleep(_GAUGE_INTERVAL_S)


async def _subscribe_durably(durable: Connection) -> None:
    """Return once the broker holds outcomes for this collector; after a restart it may have forgotten to."""
    for topic_filter, qos in DURABLE.items():
        await durable.subscribe(topic_filter, qos)
