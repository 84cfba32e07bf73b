"""The observer of a run: it updates the fleet's view, collects reroutes, and reports events."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable

from services.cli.render.fleet_view import FILTERS, FleetView
from services.cli.testbed.run_reporter import Reporter
from shared.bus import topics
from shared.bus.connection import Connection
from shared.messages.base import MessageError
from shared.messages.events import Event, EventKind, Reroute

_LOGGER = logging.getLogger(__name__)


class FleetObserver:
    """Follows the fleet of one stream on the bus. It is the only one that changes `view`."""

    def __init__(self, view: FleetView, reporter: Reporter, stream: str) -> None:
        """Observe nothing yet.

        Args:
            view: updated with every message.
            reporter: receives every event.
            stream: the stream whose reroutes are collected.
        """
        self.view = view
        self._reporter = reporter
        self._stream = stream
        self._reroutes: dict[int, Reroute] = {}
        self._updated = asyncio.Event()

    @property
    def reroutes(self) -> tuple[Reroute, ...]:
        """The stream's reroutes so far, by epoch."""
        return tuple(self._reroutes[epoch] for epoch in sorted(self._reroutes))

    @contextlib.asynccontextmanager
    async def following(self, connection: Connection) -> AsyncIterator[None]:
        """Follow the fleet for the time of the block."""
        for topic_filter in FILTERS:
            await connection.subscribe(topic_filter)
        task = asyncio.create_task(self._follow(connection), name="follow the fleet")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def until(self, condition: Callable[[FleetView], bool], timeout_s: float) -> bool:
        """Wait until the view meets a condition; return whether it did in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition(self.view):
                    self._updated.clear()
                    await self._updated.wait()
        except TimeoutError:
            return False
        return True

    async def _follow(self, connection: Connection) -> None:
        async for received in connection:
            self.view.handle(received.topic, received.payload, time.time())
            if received.topic == topics.events():
                self._take_event(received.payload)
            self._updated.set()

    def _take_event(self, payload: bytes | memoryview) -> None:
        try:
            event = Event.decode(payload)
            if event.kind is EventKind.REROUTE and event.stream == self._stream:
                reroute = Reroute.model_validate(event.data)
                # QoS 1 may deliver an event twice.
                self._reroutes.setdefault(reroute.epoch, reroute)
        except (MessageError, ValueError) as error:
            _LOGGER.warning("malformed event: %s", error)
            return
        self._reporter.event(event)
