"""Measurements of this device's own transfers and computing, delivered to its sources and to its monitor."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from services.executor.outbox import Outbox
from shared.bus import topics
from shared.messages.devices import ComputeObservation, Observation

# Shortest time between two published observations of one kind. A monitor follows a change after two observations, so
# more of them at high rates carry no information.
OBSERVATION_INTERVAL_S = 0.025
_MAX_KINDS = 256


@dataclass(slots=True)
class ObservationThrottle:
    """Selects the observations that are published: the first of each kind in an interval.

    The kind of a computed segment is the segment. The kind of a transfer is the link and the magnitude of its size,
    because where small and large transfers alternate a monitor needs both. An overdue transfer is always published.

    Attributes:
        interval_s: shortest time between two observations of one kind.
    """

    interval_s: float = OBSERVATION_INTERVAL_S
    _last_s: dict[tuple[object, ...], float] = field(default_factory=dict, init=False)

    def accept(self, observation: Observation, now_s: float) -> bool:
        """Return whether to publish an observation made at `now_s` (monotonic seconds), and count it if so."""
        if isinstance(observation, ComputeObservation):
            kind: tuple[object, ...] = (observation.model, observation.start, observation.stop)
        elif observation.finished:
            kind = (observation.target, observation.size_bytes.bit_length())
        else:
            return True
        last_s = self._last_s.get(kind)
        if last_s is not None and now_s - last_s < self.interval_s:
            return False
        if len(self._last_s) >= _MAX_KINDS:
            self._last_s.clear()
        self._last_s[kind] = now_s
        return True


@dataclass(slots=True)
class ObservationFeed:
    """Passes every observation to the subscribers, then, throttled, to the monitor.

    The pipeline and the control handler publish; the sources on this device subscribe. So these parts do not depend on
    each other. Sources come first: they switch routes within milliseconds, the monitor smooths over seconds.

    Attributes:
        outbox: publishes for the monitor.
        throttle: selects what is published.
    """

    outbox: Outbox
    throttle: ObservationThrottle = field(default_factory=ObservationThrottle)
    _subscribers: list[Callable[[Observation], Awaitable[None]]] = field(default_factory=list, init=False)

    def subscribe(self, subscriber: Callable[[Observation], Awaitable[None]]) -> None:
        """Call `subscriber` for every later observation."""
        self._subscribers.append(subscriber)

    async def publish(self, observation: Observation) -> None:
        """Deliver an observation of this device."""
        await self.tell_sources(observation)
        await self.tell_monitor(observation)

    async def tell_sources(self, observation: Observation) -> None:
        """Deliver an observation to the subscribers."""
        for subscriber in self._subscribers:
            await subscriber(observation)

    async def tell_monitor(self, observation: Observation) -> None:
        """Deliver an observation to the monitor, unless there was one of its kind a moment ago."""
        if self.throttle.accept(observation, time.monotonic()):
            topic = topics.observations(self.outbox.device)
            await self.outbox.publish_best_effort(topic, observation.encode())
