"""Keeps a client connected: opens one session after another, and says which one serves."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from shared.bus.backoff import Backoff
from shared.bus.connection_counters import Counters
from shared.bus.errors import BrokerUnreachable, BusError, SessionLost
from shared.bus.session import MqttSession
from shared.bus.settings import BusSettings

_LOGGER = logging.getLogger(__name__)


class SessionKeeper:
    """The sessions of one connection, of which at most one serves.

    Invariants. Only `run` replaces `_session`. `_online` is set exactly while `_session` serves, which begins when it
    is restored. `_ready` is set once, when the first session is announced.

    Attributes:
        max_packet_bytes: largest packet that the broker accepts; None without a maximum. Kept while offline: the broker
            is most likely the same afterwards.
    """

    def __init__(self, settings: BusSettings, client_id: str, counters: Counters) -> None:
        """Begin without a session; `run` opens them.

        Args:
            settings: where the broker is, and the pauses between attempts.
            client_id: for the log.
            counters: counts the reconnects.
        """
        self.max_packet_bytes: int | None = None
        self._settings = settings
        self._client_id = client_id
        self._counters = counters
        self._session: MqttSession | None = None
        self._online = asyncio.Event()
        self._ready = asyncio.Event()
        self._failure: BusError | None = None
        self._clock = asyncio.get_running_loop()
        self._offline_since_s = self._clock.time()

    @property
    def offline_s(self) -> float:
        """Time without a session that serves, in seconds; 0 while there is one."""
        return 0.0 if self._session is not None else self._clock.time() - self._offline_since_s

    @property
    def serving(self) -> MqttSession | None:
        """The session that serves; None while there is none."""
        return self._session

    async def wait_ready(self, timeout_s: float | None) -> None:
        """Wait until the first session is announced.

        Raises:
            BrokerUnreachable, AccessRefused: not in time.
        """
        await self._wait(self._ready, timeout_s)

    async def wait_serving(self, timeout_s: float) -> None:
        """Wait until a session serves.

        Raises:
            BrokerUnreachable, AccessRefused: not in time.
        """
        await self._wait(self._online, timeout_s)

    async def connected(self) -> MqttSession:
        """Wait until a session serves that is not lost, and return it."""
        while True:
            await self._online.wait()
            if self._session is not None and not self._session.is_lost:
                return self._session
            # The session is lost and the task that serves it has not run yet: let it clear `_online`.
            await asyncio.sleep(0)

    async def run(
        self,
        new_session: Callable[[], MqttSession],
        *,
        restore: Callable[[MqttSession], Awaitable[None]],
        announce: Callable[[], Awaitable[None]],
        refusal_is_final: bool,
    ) -> None:
        """Stay connected until cancelled.

        Args:
            new_session: returns a session that is not open yet.
            restore: prepares an open session, before it serves.
            announce: called when a session serves, and cancelled when it is lost. A `BusError` in it is logged.
            refusal_is_final: whether the refusal of the first session ends this.

        Raises:
            AccessRefused: the broker refuses the first session, and `refusal_is_final`.
        """
        backoff = Backoff(self._settings.reconnect_min_s, self._settings.reconnect_max_s)
        rng = random.Random()
        while True:
            session = new_session()
            try:
                await session.open()
            except BusError as error:
                is_refusal = backoff.attempt_failed(error)
                # After the first connection a refusal may be temporary, for example while accounts change: keep trying.
                if is_refusal and refusal_is_final and not self._ready.is_set():
                    raise
                self._note(error)
            else:
                opened_at_s = self._clock.time()
                await self._serve(session, restore, announce)
                backoff.connection_ended(self._clock.time() - opened_at_s)
            await asyncio.sleep(backoff.next_pause_s(rng))

    async def _serve(
        self,
        session: MqttSession,
        restore: Callable[[MqttSession], Awaitable[None]],
        announce: Callable[[], Awaitable[None]],
    ) -> None:
        """Use one session until it is lost."""
        try:
            # Before publications are let through: a request must not overtake the subscription to its result.
            await restore(session)
            self._session = session
            self.max_packet_bytes = session.max_packet_bytes
            self._online.set()
            self._failure = None
            self._counters.reconnects += self._ready.is_set()
            _LOGGER.info("connected to %s as %s", self._settings.address, self._client_id)
            # `announce` runs beside the session, which it uses, and ends with it.
            async with asyncio.TaskGroup() as group:
                announcement = group.create_task(self._announce(announce), name=f"on_connected {self._client_id}")
                reason = await session.lost()
                announcement.cancel()
            self._note(BrokerUnreachable(self._settings.address, f"connection lost: {reason}"))
        except SessionLost as error:
            self._note(BrokerUnreachable(self._settings.address, f"connection lost while subscribing: {error}"))
        finally:
            self._online.clear()
            if self._session is not None:
                self._offline_since_s = self._clock.time()
            self._session = None
            await session.close()

    async def _announce(self, announce: Callable[[], Awaitable[None]]) -> None:
        try:
            await announce()
        except BusError as error:
            _LOGGER.warning("on_connected could not publish everything: %s", error)
        self._ready.set()

    async def _wait(self, event: asyncio.Event, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            no_answer = BrokerUnreachable(self._settings.address, f"no answer within {timeout_s or 0.0:g} s")
            raise self._failure or no_answer from None

    def _note(self, error: BusError) -> None:
        """Keep the cause of the outage, and log it unless it is the one that was logged last."""
        if self._failure is None or str(self._failure) != str(error):
            _LOGGER.warning("%s", error)
        self._failure = error
