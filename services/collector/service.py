"""The collector service: stores every outcome before it confirms and acknowledges it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Final

from services.collector.config import CollectorConfig
from services.collector.errors import StoreUnavailable
from services.collector.inbound import CONTROL, DURABLE, REQUESTS, Record, ingest, topic_kind
from services.collector.metrics import Metrics
from services.collector.outcome_store import ReceivedRecord, WriteResult
from services.collector.outcome_store_thread import OutcomeStoreThread
from shared.bus import topics
from shared.bus.connection import Connection, Received, Will
from shared.bus.errors import BusError, SubscriptionFailed
from shared.client_secret import with_client_secret
from shared.data_directory import lock_directory
from shared.duplicate_names import NameClaim, hold_name
from shared.exit_status import InputError
from shared.health.service_health import ServiceHealth
from shared.messages.base import MessageError
from shared.messages.bounds import MAX_LINE, clean_text
from shared.messages.devices import ServicePresence, State
from shared.messages.reject_counter import RejectCounter
from shared.messages.requests import Confirmation, Outcome
from shared.service_runtime import new_boot_id, segue_version

_LOGGER = logging.getLogger(__name__)

# Unacknowledged messages that the broker may send, two batches and more.
_RECEIVE_MAXIMUM: Final = 500
_QUEUE_LIMIT: Final = 2000
_CONFIRMED_AT_ONCE: Final = 500
# Limit of the last publication while the service stops.
_FAREWELL_S: Final = 2.0
_RETRY_S: Final = 1.0
_GAUGE_INTERVAL_S: Final = 1.0


async def serve(config: CollectorConfig, health: ServiceHealth | None = None) -> None:
    """Run a collector until it is cancelled.

    Args:
        config: of this service.
        health: is told when the collector is ready; None if nobody asks.

    Raises:
        BusError: the broker is unreachable or refuses access.
        InputError: the database cannot be used, another process uses it, another collector has the name, or the
            metrics' port is taken.
    """
    async with lock_directory(config.data_dir):
        settings = await asyncio.to_thread(with_client_secret, config.broker, config.data_dir)
        await Collector(replace(config, broker=settings), health or ServiceHealth("collector", config.name)).run()


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A record to store, and the message to acknowledge afterwards."""

    arrival: ReceivedRecord
    received: Received


class Collector:
    """The shell around `ingest`, `OutcomeStore` and `Metrics`.

    A message passes four steps in order: decode, store, confirm to the source, acknowledge to the broker. A crash
    after any step loses nothing. Before the last step the broker delivers the message again, and the store recognises
    it. The source repeats an outcome until it is confirmed.
    """

    def __init__(self, config: CollectorConfig, health: ServiceHealth) -> None:
        """Prepare without connecting."""
        self._config = config
        self._health = health
        self._metrics = Metrics()
        self._rejects = RejectCounter()
        self._presence = ServicePresence(
            name=config.name, role="collector", state=State.ONLINE, version=segue_version(), boot_id=new_boot_id()
        )
        self._durable: Connection | None = None
        self._to_store: asyncio.Queue[_Waiting] = asyncio.Queue(_QUEUE_LIMIT)
        self._stored: asyncio.Queue[_Waiting] = asyncio.Queue(_QUEUE_LIMIT)

    async def run(self) -> None:
        """Connect, store and confirm until cancelled; then publish that the collector is offline."""
        config = self._config
        claim = NameClaim.of_service(self._presence, "give this one a name of its own, --name")
        async with AsyncExitStack() as stack:
            try:
                store = await stack.enter_async_context(
                    OutcomeStoreThread.open(config.database, config.limits, config.broker, claim)
                )
            except StoreUnavailable as error:
                raise InputError(str(error)) from error
            if config.metrics_port is not None:
                endpoint = stack.enter_context(self._metrics.serve(config.metrics_host, config.metrics_port))
                _LOGGER.info("metrics at http://%s:%d/metrics", endpoint.host, endpoint.port)
            await stack.enter_async_context(
                hold_name(config.broker, claim, config.connect_timeout_s, lambda: self._presence)
            )
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
            # A second connection, because the embedded broker sends no retained messages to a resumed session.
            control = await stack.enter_async_context(
                Connection.open(
                    config.broker,
                    client_id=config.name,
                    will=Will(topics.service_presence(config.name), self._absence().encode()),
                    on_connected=self._announce_again,
                    connect_timeout_s=config.connect_timeout_s,
                )
            )
            try:
                await self._collect(store, durable, control)
            finally:
                await self._publish_offline(control)

    async def _collect(self, store: OutcomeStoreThread, durable: Connection, control: Connection) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(durable), name="listen to outcomes")
            group.create_task(self._listen(control), name="listen to control")
            group.create_task(self._store(store, control), name="store")
            group.create_task(self._confirm(control), name="confirm")
            group.create_task(self._gauge(durable, control), name="gauge")
            # A broker that resumes a session may deliver queued messages before it answers a subscription. The tasks
            # that take them must therefore run already.
            await _subscribe_durably(durable)
            self._durable = durable
            await self._announce(control)
            self._health.serving({"control": control, "outcomes": durable})

    async def _announce_again(self, control: Connection) -> None:
        if self._durable is not None:
            with contextlib.suppress(SubscriptionFailed):
                await _subscribe_durably(self._durable)
            await self._announce(control)

    async def _announce(self, control: Connection) -> None:
        """Subscribe, then publish presence, upon which sources repeat their unconfirmed outcomes."""
        filters = {**CONTROL, REQUESTS: 0} if self._config.watch_requests else CONTROL
        for topic_filter, qos in filters.items():
            await control.subscribe(topic_filter, qos)
        await control.publish(topics.service_presence(self._config.name), self._presence.encode(), retain=True)

    async def _publish_offline(self, control: Connection) -> None:
        topic, presence = topics.service_presence(self._config.name), self._absence().encode()
        try:
            await control.publish(topic, presence, retain=True, timeout_s=_FAREWELL_S)
        except BusError as error:
            _LOGGER.debug("the collector's absence is not published: %s", error)

    def _absence(self) -> ServicePresence:
        return self._presence.model_copy(update={"state": State.OFFLINE})

    async def _tell(self, control: Connection, trouble: str) -> None:
        """Publish what keeps the collector from storing; an empty text if nothing does any more."""
        self._presence = self._presence.model_copy(update={"trouble": clean_text(trouble, MAX_LINE)})
        try:
            await control.publish(topics.service_presence(self._config.name), self._presence.encode(), retain=True)
        except BusError as error:
            # After a reconnect the presence is published again.
            _LOGGER.warning("the collector's state is not published: %s", error)

    async def _listen(self, connection: Connection) -> None:
        """Queue records; a full queue delays acknowledgements, so that the broker sends no more."""
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
        except Exception as error:
            # A fault of the collector. A message that ends it would come again after every restart.
            self._reject(received.topic, f"{type(error).__name__}: {error}")
        return None

    def _reject(self, topic: str, reason: str) -> None:
        self._metrics.bad_message(topic_kind(topic))
        if self._rejects.add(topic, reason):
            _LOGGER.warning("dropped a message on %s: %s", topic, reason)

    async def _store(self, store: OutcomeStoreThread, control: Connection) -> None:
        while True:
            batch = await self._next_batch()
            results = await self._write(store, control, batch)
            for waiting, result in zip(batch, results, strict=True):
                if result is WriteResult.REFUSED:
                    self._reject(waiting.received.topic, "the record does not fit into the database")
                self._metrics.stored(waiting.arrival.record, result)
                await self._stored.put(waiting)

    async def _next_batch(self) -> Sequence[_Waiting]:
        """Wait for a record, then for others that follow within the batch's time."""
        batch = [await self._to_store.get()]
        try:
            async with asyncio.timeout(self._config.batch_s):
                while len(batch) < self._config.batch_messages:
                    batch.append(await self._to_store.get())
        except TimeoutError:
            _LOGGER.debug("stored %d messages after waiting for more", len(batch))
        return batch

    async def _write(
        self, store: OutcomeStoreThread, control: Connection, batch: Sequence[_Waiting]
    ) -> tuple[WriteResult, ...]:
        """Store a batch, and try again until it succeeds; meanwhile nothing is acknowledged."""
        arrivals = [waiting.arrival for waiting in batch]
        told = False
        while True:
            try:
                results = await store.write(arrivals)
            except StoreUnavailable as error:
                if not told:
                    _LOGGER.error("%s; trying again", error)
                    await self._tell(control, f"outcomes are not stored and wait: {error}")
                told = True
                await asyncio.sleep(_RETRY_S)
                continue
            if told:
                await self._tell(control, "")
            return results

    async def _confirm(self, control: Connection) -> None:
        """Confirm stored outcomes to their sources, then acknowledge them to the broker.

        In this order a crash between the two repeats a confirmation. The reverse order would lose it.
        """
        while True:
            stored = [await self._stored.get()]
            while len(stored) < _CONFIRMED_AT_ONCE and not self._stored.empty():
                stored.append(self._stored.get_nowait())
            records = (waiting.arrival.record for waiting in stored)
            await self._publish_confirmation(
                control, [record.request_id for record in records if isinstance(record, Outcome)]
            )
            for waiting in stored:
                waiting.received.acknowledge()

    async def _publish_confirmation(self, control: Connection, request_ids: Sequence[str]) -> None:
        if not request_ids:
            return
        confirmation = Confirmation(collector=self._config.name, request_ids=tuple(dict.fromkeys(request_ids)))
        try:
            await control.publish(topics.confirmations(), confirmation.encode())
        except BusError as error:
            _LOGGER.warning("outcomes are not confirmed; their sources will send them again: %s", error)

    async def _gauge(self, durable: Connection, control: Connection) -> None:
        while True:
            self._metrics.connection("results", durable.is_connected)
            self._metrics.connection("control", control.is_connected)
            self._metrics.waiting(self._to_store.qsize())
            await asyncio.sleep(_GAUGE_INTERVAL_S)


async def _subscribe_durably(durable: Connection) -> None:
    """Subscribe to outcomes and events; repeated after every reconnect, as a restarted broker may lose sessions."""
    for topic_filter, qos in DURABLE.items():
        await durable.subscribe(topic_filter, qos)
