"""Emulated conditions of a device: delays of its links and its load factor."""

import asyncio
import math

from shared.bus.feature_maps.link_schedule import LinkRate, LinkSchedule
from shared.bus.timer import WakeableTimer
from shared.messages.devices import Emulation

_UNLIMITED = LinkRate(math.inf)


class EmulatedConditions:
    """The emulation in force for one device; without any, messages are not delayed.

    Invariant: a link keeps its schedule while its rate changes, so that messages on it stay in order.
    """

    def __init__(self) -> None:
        """Begin without limits."""
        self.load_factor = 1.0
        self._links: dict[str, LinkSchedule] = {}
        self._changed = WakeableTimer()
        self._clock = asyncio.get_running_loop()

    def obey(self, emulation: Emulation) -> None:
        """Apply an emulation from now on; links that it does not list have no limit."""
        self.load_factor = emulation.load_factor
        rates = {link.target: LinkRate(link.bandwidth_mbps, link.latency_ms) for link in emulation.links}
        now_s = self._clock.time()
        for target in {*rates, *self._links}:
            rate = rates.get(target, _UNLIMITED)
            if target in self._links:
                self._links[target].change(now_s, rate)
            else:
                self._links[target] = LinkSchedule(rate)
        self._changed.wake()

    async def until_delivered(self, target: str, size_bytes: int, timeout_s: float) -> bool:
        """Wait as long as the emulated link delays a message, following changes of the link.

        Returns:
            True if the message arrives within `timeout_s`; otherwise it is lost.
        """
        schedule = self._links.get(target)
        if schedule is None:
            return True
        deadline_s = self._clock.time() + timeout_s
        # `change` moves the delivery times of bookings, so the loop reads this one again after every wake-up.
        booking = schedule.book(self._clock.time(), size_bytes)
        try:
            while (now_s := self._clock.time()) < booking.deliver_at_s:
                if now_s >= deadline_s:
                    return False
                await self._changed.wait_until(min(booking.deliver_at_s, deadline_s))
        finally:
            schedule.cancel(self._clock.time(), booking)
        return True
