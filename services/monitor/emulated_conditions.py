"""Emulated conditions: probes are held back as the emulated link would, computations stretched as the load would."""

import asyncio
import math

from shared.bus.emulation import LinkRate, LinkSchedule
from shared.bus.timer import WakeableTimer
from shared.messages.devices import Emulation

_UNLIMITED = LinkRate(math.inf)


class EmulatedConditions:
    """What the device pretends. A real device, or one that has not been told, holds nothing back."""

    def __init__(self) -> None:
        """Begin without limits."""
        self.load_factor = 1.0
        self._links: dict[str, LinkSchedule] = {}
        self._changed = WakeableTimer()
        self._clock = asyncio.get_running_loop()

    def obey(self, emulation: Emulation) -> None:
        """Pretend this from now on; links that are not mentioned have no limit."""
        self.load_factor = emulation.load_factor
        rates = {link.target: LinkRate(link.bandwidth_mbps, link.latency_ms) for link in emulation.links}
        now_s = self._clock.time()
        for target in {*rates, *self._links}:
            rate = rates.get(target, _UNLIMITED)
            if target in self._links:
                self._links[target].change(now_s, rate)
            else:
                self._links[target] = LinkSchedule(rate)
        self._changed.ring()

    async def until_delivered(self, target: str, size_bytes: int, timeout_s: float) -> bool:
        """Wait until a message would be at the other end of the link; follow the link's changes meanwhile.

        Returns:
            Whether it would be there within `timeout_s`; otherwise it is lost.
        """
        schedule = self._links.get(target)
        if schedule is None:
            return True
        deadline_s = self._clock.time() + timeout_s
        booking = schedule.book(self._clock.time(), size_bytes)
        try:
            while (now_s := self._clock.time()) < booking.deliver_at_s:
                if now_s >= deadline_s:
                    return False
                await self._changed.wait_until(min(booking.deliver_at_s, deadline_s))
        finally:
            schedule.cancel(self._clock.time(), booking)
        return True
