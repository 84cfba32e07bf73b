"""A transport over emulated links: sends take as long as over links of a given bandwidth and latency.

`link_schedule` computes the times. The transport here waits for them, and corrects for its own lateness.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from shared.bus.feature_maps.chunk_sender import Pace
from shared.bus.feature_maps.link_schedule import Booking, LinkRate, LinkSchedule
from shared.bus.feature_maps.transport import FeatureMapTransport, SentMessage
from shared.bus.frame import Buffer, frame_size_bytes
from shared.bus.timer import WakeableTimer
from shared.transport_mode import Carrier, TransportMode

# Bounds on the corrections of `FinishedSend`: a delayed wake-up of the process, a confirmation by the broker. Other
# delays must not be compensated by a burst.
_LONGEST_WAKE_UP_S: Final = 0.1
_LONGEST_CONFIRMATION_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class FinishedSend:
    """Timing of the previous send, from which the start of the next one follows.

    Attributes:
        due_s: arrival of its last byte, by the schedule.
        late_s: delay of the release of its last byte, because the process woke up late.
        ended_s: when the next send could begin, after the confirmation of this one.
    """

    due_s: float = 0.0
    late_s: float = 0.0
    ended_s: float = 0.0

    def next_start_s(self, asked_at_s: float) -> float:
        """Return when a send that was requested at `asked_at_s` begins on the emulated link.

        A send that waited for the previous one begins when the link became free. Lateness and confirmation belong to
        the emulation, not to the link. A send requested right after the end of the previous one is moved back by the
        same time. Without the emulation's delay it would have been requested that much earlier. Both corrections are
        bounded.
        """
        held_up_s = min(
            max(0.0, self.ended_s - self.due_s), min(self.late_s, _LONGEST_WAKE_UP_S) + _LONGEST_CONFIRMATION_S
        )
        if asked_at_s < self.ended_s:
            return max(asked_at_s, self.ended_s - held_up_s)
        return asked_at_s - held_up_s if asked_at_s - self.ended_s <= held_up_s else asked_at_s


class ShapedTransport:
    """A transport whose sends take as long as they would over emulated links.

    A chunk is released when its last byte would have passed the link. So a change of the link takes effect within a
    long transfer, and the receiver gets the first chunk early, as over a real link. Sends to all receivers go one at a
    time, as from a device with one network interface.

    The schedule is absolute: the link becomes free when a send should have ended. The process wakes up later, and the
    broker confirms later still (`FinishedSend`). A busy machine delays single transfers but does not slow down the
    link. `SentMessage.started_at_s` is the scheduled start, so no transfer appears faster than its link.

    Invariant: a schedule holds a booking only while its send is under way.
    """

    def __init__(
        self, transport: FeatureMapTransport, links: Mapping[str, LinkRate], default: LinkRate | None = None
    ) -> None:
        """Wrap a transport.

        Args:
            transport: carries the frames.
            links: rate per receiving device.
            default: rate towards all other devices; None for no delay.
        """
        self._transport = transport
        self._default = default or LinkRate(math.inf)
        self._schedules = {device: LinkSchedule(rate) for device, rate in links.items()}
        self._sending = asyncio.Lock()
        self._previous = FinishedSend()
        self._changed = WakeableTimer()
        self._clock = asyncio.get_running_loop()

    def set_link(self, device: str, rate: LinkRate) -> None:
        """Change the link to a device, with effect on a transfer under way."""
        self._schedule(device).change(self._clock.time(), rate)
        self._changed.wake()

    def link(self, device: str) -> LinkRate:
        """Return the present rate of the link to a device."""
        schedule = self._schedules.get(device)
        return self._default if schedule is None else schedule.rate

    async def send(
        self, device: str, buffers: Sequence[Buffer], *, pace: Pace | None = None, mode: TransportMode | None = None
    ) -> SentMessage:
        """Send one frame in the time that the emulated link takes.

        While the link is down this waits until the link changes or the caller cancels it.

        Raises:
            BusError: the transport could not send it.
        """
        asked_at_s = self._clock.time()
        async with self._sending:
            started_at_s = self._previous.next_start_s(asked_at_s)
            schedule = self._schedule(device)
            booking = schedule.book(started_at_s, frame_size_bytes(buffers))
            # Lateness carries over from chunk to chunk until a chunk is released in time.
            late_s = 0.0

            async def keep_to_schedule(passed_bytes: int) -> None:
                nonlocal late_s
                if pace is not None:
                    await pace(passed_bytes)
                late_s = await self._until_passed(booking, passed_bytes, late_s)

            # Infinite for a send that fails or is cancelled: it has no delivery, and nothing is corrected after it.
            due_s = math.inf
            try:
                sent = await self._transport.send(device, buffers, pace=keep_to_schedule, mode=mode)
                due_s = booking.deliver_at_s
            finally:
                now_s = self._clock.time()
                schedule.cancel(now_s, booking)
                self._previous = FinishedSend(min(due_s, now_s), late_s, now_s)
            return replace(sent, started_at_s=started_at_s)

    def carrier(self, device: str, mode: TransportMode | None = None) -> Carrier:
        """Return what would carry a frame to a device now."""
        return self._transport.carrier(device, mode)

    def passes_others(self, device: str, size_bytes: int, mode: TransportMode | None = None) -> bool:
        """Return False: all links share one network interface."""
        return False

    def send_now(self, device: str, buffers: Sequence[Buffer], mode: TransportMode | None = None) -> bool:
        """Return False: every send takes the time of its link."""
        return False

    async def _until_passed(self, booking: Booking, passed_bytes: int, late_s: float) -> float:
        """Wait until this number of bytes has passed; return the lateness due to this wake-up or the previous one."""
        while self._clock.time() < (due_s := booking.passed_at_s(passed_bytes)):
            await self._changed.wait_until(due_s)
            late_s = math.inf
        return min(late_s, self._clock.time() - due_s)

    def _schedule(self, device: str) -> LinkSchedule:
        if device not in self._schedules:
            self._schedules[device] = LinkSchedule(self._default)
        return self._schedules[device]
