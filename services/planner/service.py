"""Planner service: connection, clock, disk and worker threads around the coordinator."""

import asyncio
import contextlib
import dataclasses
import functools
import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import assert_never

from planning.strategies import known_strategies, solve
from services.planner.config import PlannerConfig
from services.planner.coordination.coordinator import SETTLE_S, Coordinator, ForeignPlan
from services.planner.coordination.effects import DeleteDocument, DeleteModelFile, Effect, FetchModel, Persist, Publish
from services.planner.coordination.planner_store import PlannerStore
from services.planner.decisions.switching_ranges import ThresholdJob, find_thresholds
from services.planner.inbound import SUBSCRIPTIONS, decode
from services.planner.library import Library
from services.planner.problems.planning_jobs import PlanningJob, run_job
from services.planner.signer import Signer
from shared.bus import topics
from shared.bus.connection import Connection, Properties, Received, Will
from shared.bus.errors import BusError
from shared.client_secret import with_client_secret
from shared.data_directory import lock_directory
from shared.disk_faults import open_on_disk, until_disk_allows
from shared.duplicate_names import NameClaim, hold_name
from shared.exit_status import InputError
from shared.health.service_health import ServiceHealth
from shared.messages.alternatives import Alternatives
from shared.messages.base import MessageError
from shared.messages.devices import ServicePresence, State
from shared.messages.models import Manifest
from shared.messages.reject_counter import MAX_CAUSES, RejectCounter
from shared.messages.streams import CommittedPlan
from shared.service_runtime import new_boot_id, segue_version
from shared.steady_clock import SteadyClock

_LOGGER = logging.getLogger(__name__)

_TICK_S = 0.25
# While the queue is full, reading from the broker and planning wait until effects have been performed.
_MAX_EFFECTS = 4096
_GOODBYE_TIMEOUT_S = 2.0
# Pause between two repairs of one topic.
_REPAIR_PAUSE_S = 5.0
_MAX_REPAIRS = 1000
# Pause after a fault of the planner itself.
_PAUSE_S = 1.0


async def serve(config: PlannerConfig, health: ServiceHealth | None = None) -> None:
    """Plan for a fleet until cancelled.

    Args:
        config: of this service.
        health: is told when the planner is ready; None if nobody asks.

    Raises:
        InputError: the data folder cannot be used, or another planner has the name.
        BusError: the broker cannot be reached, or refuses the connection.
    """
    settings = await asyncio.to_thread(with_client_secret, config.broker, config.data_dir)
    config = dataclasses.replace(config, broker=settings)
    presence = ServicePresence(
        name=config.name,
        role="planner",
        state=State.ONLINE,
        version=await asyncio.to_thread(segue_version),
        boot_id=new_boot_id(),
    )
    claim = NameClaim.of_service(presence, "let that one do the work: a fleet has one planner")
    async with lock_directory(config.data_dir):
        try:
            store = await open_on_disk(
                functools.partial(PlannerStore, config.data_dir), config.data_dir, config.broker, claim
            )
            signer = await open_on_disk(
                functools.partial(Signer.open, config.data_dir, config.broker.root, config.signing_key),
                config.data_dir,
                config.broker,
                claim,
            )
        except (OSError, sqlite3.OperationalError) as error:
            raise InputError(f"the planner cannot keep its data in {config.data_dir}: {error}") from error
        try:
            await _Planner(
                config, store, claim, presence, signer, health or ServiceHealth("planner", config.name)
            ).run()
        finally:
            await asyncio.shield(asyncio.to_thread(store.close))


class _Planner:
    """The tasks of the service. All share one event loop, on which the core is called; none awaits inside a call.

    Effects go through one queue and are performed by one task, so that their order on disk and bus is the core's. A
    strategy runs in a worker thread on immutable values. Events that come meanwhile change the core, which compares
    the answer with its present state.
    """

    def __init__(
        self,
        config: PlannerConfig,
        store: PlannerStore,
        claim: NameClaim,
        presence: ServicePresence,
        signer: Signer,
        health: ServiceHealth,
    ) -> None:
        self._config = config
        self._health = health
        self._store = store
        self._claim = claim
        self._presence = presence.model_copy(update={"public_key": signer.public_key})
        self._signer = signer
        self._clock = SteadyClock()
        self._core = Coordinator(config.name, known_strategies().keys(), self._clock.now_s(), signer.public_key)
        self._library = Library(config.library_dir, config.broker, config.name, self._model_stored, self._model_failed)
        self._solve = functools.partial(solve, seed=config.seed, time_budget_s=config.time_budget_s)
        self._effects: asyncio.Queue[Effect] = asyncio.Queue(_MAX_EFFECTS)
        self._put_lock = asyncio.Lock()
        self._is_changed = asyncio.Event()
        self._rejects = RejectCounter()
        self._republish_at_s = float("inf")
        self._repaired_at_s: dict[str, float] = {}
        self._is_announced = False

    async def run(self) -> None:
        """Serve until cancelled."""
        self._core.restore(await asyncio.to_thread(self._store.documents), self._clock.now_s())
        config = self._config
        will = Will(topics.service_presence(config.name), self._absence().encode())
        async with (
            hold_name(config.broker, self._claim, config.connect_timeout_s, lambda: self._presence),
            Connection.open(
                config.broker,
                client_id=f"segue-{config.name}",
                will=will,
                on_connected=self._connected,
                connect_timeout_s=config.connect_timeout_s,
            ) as connection,
        ):
            _LOGGER.info("planner %s signs with key %s", config.name, self._signer.public_key)
            try:
                await self._publish_online(connection)
                self._health.serving({"control": connection})
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._perform(connection), name="perform")
                    group.create_task(self._listen(connection), name="listen")
                    group.create_task(self._tick(), name="tick")
                    group.create_task(self._plan(), name="plan")
                    group.create_task(self._library.run(), name="library")
            finally:
                await asyncio.shield(self._publish_offline(connection))

    async def _connected(self, connection: Connection) -> None:
        now_s = self._clock.now_s()
        self._core.connected(now_s)
        self._republish_at_s = now_s + SETTLE_S
        for topic_filter, qos in SUBSCRIPTIONS.items():
            await connection.subscribe(topic_filter, qos)
        if self._is_announced:
            await self._publish_online(connection)

    async def _publish_online(self, connection: Connection) -> None:
        """Publish that the planner is online.

        A reconnect before the first call publishes nothing: only `run` makes sure that `_publish_offline` follows.
        """
        self._is_announced = True
        await connection.publish(topics.service_presence(self._config.name), self._presence.encode(), retain=True)

    async def _listen(self, connection: Connection) -> None:
        async for received in connection:
            await self._put(self._handle(received))
            self._is_changed.set()

    def _handle(self, received: Received) -> Sequence[Effect]:
        now_s = self._clock.now_s()
        payload = bytes(received.payload)
        own = self._signer.is_own(received.user, received.topic, payload)
        try:
            message = decode(received.topic, payload)
            if message is None:
                # Somebody has cleared a topic. The planner's own messages belong there.
                return () if own else [each for each in self._repair(received.topic, now_s) if each.payload]
            if own and isinstance(message, CommittedPlan) and self._core.is_outdated(message):
                return self._repair(received.topic, now_s)
            return self._core.handle(message, now_s, own=own)
        except ForeignPlan as error:
            # Where there is no own plan, it stays: devices may follow it while their planner is away.
            kept = [each for each in self._repair(received.topic, now_s) if each.payload]
            return [*kept, *self._refused(received.topic, str(error), now_s)]
        except MessageError as error:
            reason = str(error)
        except Exception as error:
            # A fault of the planner, which must not end it: a retained message would end it after every restart.
            reason = f"{type(error).__name__}: {error}"
            if self._rejects.count < MAX_CAUSES:
                _LOGGER.exception("a message on %s could not be handled", received.topic)
        # An own message that is refused would be published for ever.
        repairs = () if own else self._repair(received.topic, now_s)
        return [*repairs, *self._refused(received.topic, reason, now_s)]

    def _refused(self, topic: str, reason: str, now_s: float) -> Sequence[Effect]:
        """Count a message, and announce the first of its cause."""
        if not self._rejects.add(topic, reason):
            return ()
        text = f"a message on {topic} was dropped: {reason}"
        _LOGGER.warning("%s", text)
        return self._core.message_dropped(text, now_s)

    def _repair(self, topic: str, now_s: float) -> Sequence[Publish]:
        """Return the planner's own message of a topic that holds another one.

        The first is published immediately, further ones with the next publication of everything: two planners, which a
        fleet should not have, would otherwise overwrite each other without a pause.
        """
        if now_s - self._repaired_at_s.get(topic, -_REPAIR_PAUSE_S) < _REPAIR_PAUSE_S:
            self._republish_at_s = min(self._republish_at_s, now_s + _REPAIR_PAUSE_S)
            return ()
        repairs = self._core.overwritten(topic)
        if repairs:
            if len(self._repaired_at_s) >= _MAX_REPAIRS:
                self._repaired_at_s.clear()
            self._repaired_at_s[topic] = now_s
        return repairs

    async def _tick(self) -> None:
        while True:
            now_s = self._clock.now_s()
            await self._put(self._core.tick(now_s))
            if now_s >= self._republish_at_s:
                self._republish_at_s = float("inf")
                await self._put(self._core.republished())
            if self._core.due_at_s <= now_s:
                self._is_changed.set()
            self._clock.warn_when_set()
            await asyncio.sleep(_TICK_S)

    async def _plan(self) -> None:
        """Solve one problem at a time in a worker thread; changes that come meanwhile are part of the next one.

        Thresholds are computed only when no problem waits.
        """
        while True:
            self._is_changed.clear()
            try:
                effects, job = self._core.next_job(self._clock.now_s())
            except Exception:
                # The stream is no longer due, so that the others go on; the next review makes it due again.
                _LOGGER.exception("a problem could not be posed")
                await asyncio.sleep(_PAUSE_S)
                continue
            await self._put(effects)
            if job is not None:
                await self._put(await self._answer(job))
            elif (threshold_job := self._core.next_threshold_job(self._clock.now_s())) is not None:
                alternatives = await self._thresholds(threshold_job)
                await self._put(self._core.thresholds_found(threshold_job, alternatives, self._clock.now_s()))
            else:
                await self._is_changed.wait()

    async def _thresholds(self, job: ThresholdJob) -> Alternatives:
        try:
            return await asyncio.to_thread(find_thresholds, job)
        except Exception:
            _LOGGER.exception("the thresholds of stream %s could not be found", job.plan.stream)
            return Alternatives(stream=job.plan.stream, epoch=job.plan.epoch)

    async def _answer(self, job: PlanningJob) -> Sequence[Effect]:
        try:
            answer = await asyncio.to_thread(run_job, job, self._solve)
        except Exception as error:
            _LOGGER.exception("strategy %s failed on stream %s", job.policy.strategy, job.stream)
            return self._core.failed(job, f"{type(error).__name__}: {error}", self._clock.now_s())
        return self._core.answered(job, answer, self._clock.now_s())

    async def _put(self, effects: Sequence[Effect]) -> None:
        # The lock is fair (first come, first served). Without it, effects of a later event could overtake those of an
        # earlier one at a full queue. A retained status could then stay out of date.
        async with self._put_lock:
            for effect in effects:
                await self._effects.put(effect)

    async def _perform(self, connection: Connection) -> None:
        while True:
            effect = await self._effects.get()
            match effect:
                case Publish(topic, payload, retain):
                    await self._publish(connection, topic, payload, retain)
                case Persist(document):
                    await self._on_disk(connection, functools.partial(self._store.put, document))
                case DeleteDocument(kind, key):
                    await self._on_disk(connection, functools.partial(self._store.delete, kind, key))
                case FetchModel():
                    await self._library.fetch(effect)
                case DeleteModelFile(file_id):
                    await asyncio.to_thread(self._library.remove, file_id)
                case _ as never:
                    assert_never(never)

    async def _on_disk(self, connection: Connection, change: Callable[[], None]) -> None:
        """Change the store. While the disk refuses, the effects behind this one wait, and the presence says so."""

        async def tell(fault: str) -> None:
            trouble = f"no plan, policy or model changes: {fault}" if fault else ""
            self._presence = self._presence.model_copy(update={"trouble": trouble})
            await self._publish(
                connection, topics.service_presence(self._config.name), self._presence.encode(), retain=True
            )

        await until_disk_allows(lambda: asyncio.to_thread(change), self._config.data_dir, tell)

    async def _publish(self, connection: Connection, topic: str, payload: bytes, retain: bool) -> None:
        """Sign and publish, and log a failure.

        A failure is temporary: retained messages are published again after a reconnect, and commands are repeated.
        """
        try:
            properties = Properties(user=self._signer.properties(topic, payload))
            await connection.publish(topic, payload, retain=retain, properties=properties)
        except BusError as error:
            _LOGGER.warning("%s", error)

    async def _model_stored(self, manifest: Manifest) -> None:
        await self._put(self._core.model_stored(manifest, self._clock.now_s()))
        self._is_changed.set()

    async def _model_failed(self, manifest: Manifest, reason: str) -> None:
        await self._put(self._core.model_failed(manifest, reason, self._clock.now_s()))

    def _absence(self) -> ServicePresence:
        return self._presence.model_copy(update={"state": State.OFFLINE})

    async def _publish_offline(self, connection: Connection) -> None:
        with contextlib.suppress(BusError):
            await connection.publish(
                topics.service_presence(self._config.name),
                self._absence().encode(),
                retain=True,
                timeout_s=_GOODBYE_TIMEOUT_S,
            )
