"""Emulated links: messages arrive as late as they would over a link of a given bandwidth and latency.

The schedule is pure: a transfer takes the time of `shared.link_time`, and a link carries one transfer at a time. The
wrapper around a transport only waits as it says.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from shared.bus.frame import Buffer, frame_size_bytes
from shared.bus.timer import WakeableTimer
from shared.bus.transport import Delivery, FeatureMapTransport, Pace, SentMessage
from shared.link_time import bytes_within, transmission_ms

_MADE_UP_S = 0.1
"""Longest wake-up that is made up for."""
_CONFIRMATION_S = 0.01
"""Longest confirmation that is made up for."""


@dataclass(frozen=True, slots=True)
class LinkRate:
    """What a link can do.

    Attributes:
        bandwidth_mbps: 10^6 bits per second; 0 for a link that is down, infinity for one without limit.
        latency_ms: added to every transfer.
    """

    bandwidth_mbps: float
    latency_ms: float = 0.0

    def __post_init__(self) -> None:
        if not self.bandwidth_mbps >= 0 or not 0 <= self.latency_ms < math.inf:
            raise ValueError(f"a link of {self.bandwidth_mbps} Mbps and {self.latency_ms} ms cannot be")

    def bytes_s(self, size_bytes: float) -> float:
        """Time that bytes take at this bandwidth, in seconds, without latency."""
        if size_bytes <= 0:
            return 0.0
        return transmission_ms(size_bytes, self.bandwidth_mbps) / 1000


class Booking:
    """A transfer's place on a link. Its times move when the link changes."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._begun_at_s = 0.0
        self._rate = LinkRate(math.inf)
        self._waiting_s = 0.0
        self._passed_bytes = 0.0

    @property
    def deliver_at_s(self) -> float:
        """When the last byte is there; infinity while the link is down."""
        return self.passed_at_s(self.size_bytes)

    def passed_at_s(self, size_bytes: float) -> float:
        """When so many of the bytes are there, if the link stays as it is."""
        left = min(size_bytes, self.size_bytes) - self._passed_bytes
        return self._begun_at_s + self._waiting_s + self._rate.bytes_s(left)

    def _begin(self, at_s: float, rate: LinkRate) -> None:
        self._begun_at_s, self._rate, self._waiting_s = at_s, rate, rate.latency_ms / 1000

    def _change(self, now_s: float, rate: LinkRate) -> None:
        """Keep what has passed by now; the rest goes at the new rate. The latency counts once, as it was."""
        if now_s <= self._begun_at_s:
            self._begin(self._begun_at_s, rate)
            return
        moving_s = now_s - self._begun_at_s - self._waiting_s
        if moving_s > 0 and self._rate.bandwidth_mbps > 0:
            passed = bytes_within(1000 * moving_s, self._rate.bandwidth_mbps)
            self._passed_bytes = min(self.size_bytes, self._passed_bytes + passed)
        self._waiting_s = max(0.0, -moving_s)
        self._begun_at_s, self._rate = now_s, rate


class LinkSchedule:
    """When transfers over one link arrive. Pure: the caller brings the time, which must not go backwards."""

    def __init__(self, rate: LinkRate) -> None:
        self._rate = rate
        self._bookings: deque[Booking] = deque()

    @property
    def rate(self) -> LinkRate:
        """What the link can do at present."""
        return self._rate

    def book(self, now_s: float, size_bytes: int) -> Booking:
        """Put a transfer behind those already booked."""
        self._forget_past(now_s)
        booking = Booking(size_bytes)
        free_at_s = self._bookings[-1].deliver_at_s if self._bookings else now_s
        booking._begin(max(now_s, free_at_s), self._rate)
        self._bookings.append(booking)
        return booking

    def change(self, now_s: float, rate: LinkRate) -> None:
        """From now on the link can do something else. The transfer under way keeps what has passed."""
        self._forget_past(now_s)
        self._rate = rate
        self._rebook(now_s)

    def cancel(self, now_s: float, booking: Booking) -> None:
        """Give a transfer's place up; those behind it move forward."""
        self._forget_past(now_s)
        if booking in self._bookings:
            self._bookings.remove(booking)
            self._rebook(now_s)

    def _rebook(self, now_s: float) -> None:
        free_at_s = now_s
        for position, booking in enumerate(self._bookings):
            if position == 0 and booking._begun_at_s <= now_s:
                booking._change(now_s, self._rate)
            else:
                booking._begin(free_at_s, self._rate)
            free_at_s = booking.deliver_at_s

    def _forget_past(self, now_s: float) -> None:
        while self._bookings and self._bookings[0].deliver_at_s <= now_s:
            self._bookings.popleft()


@dataclass(frozen=True, slots=True)
class FinishedSend:
    """A send that is over, as far as the next one is concerned. Pure.

    Attributes:
        due_s: when its last byte was there, by the schedule.
        late_s: how late the last byte was released because the emulation woke up late.
        ended_s: when the next send could begin, the confirmation of this one included.
    """

    due_s: float = 0.0
    late_s: float = 0.0
    ended_s: float = 0.0

    def next_start_s(self, asked_at_s: float) -> float:
        """Return when a send that is asked for at some time begins on the link.

        One that waited begins when the link was free: neither the lateness nor the confirmation is the link's. One
        that is asked for right after the end would have been asked for that much earlier. Both within bounds, so that
        whatever else takes long is not made up for in a burst.
        """
        held_up_s = min(max(0.0, self.ended_s - self.due_s), min(self.late_s, _MADE_UP_S) + _CONFIRMATION_S)
        if asked_at_s < self.ended_s:
            return max(asked_at_s, self.ended_s - held_up_s)
        return asked_at_s - held_up_s if asked_at_s - self.ended_s <= held_up_s else asked_at_s


class ShapedTransport:
    """A transport whose sends take as long as they would over emulated links.

    Chunks are released one by one as their last byte would have passed, so that a long transfer feels a change of the
    link at once, and the receiver sees the first chunk early, as over a real link. One send at a time, whatever the
    receiver: a device's sends go out one after the other.

    The schedule is absolute: the link is free again when a send should have ended, not when the emulation woke up for
    it and the broker had confirmed it (`FinishedSend`). A busy machine delays single transfers but does not slow the
    link down. `SentMessage.started_at_s` is the scheduled start: no transfer is measured as faster than its link.
    """

    def __init__(
        self, transport: FeatureMapTransport, links: Mapping[str, LinkRate], default: LinkRate | None = None
    ) -> None:
        """Wrap a transport.

        Args:
            transport: what really carries the frames.
            links: rate per receiving device.
            default: rate towards all others; None for no delay.
        """
        self._transport = transport
        self._default = default or LinkRate(math.inf)
        self._schedules = {device: LinkSchedule(rate) for device, rate in links.items()}
        self._sending = asyncio.Lock()
        self._previous = FinishedSend()
        self._changed = WakeableTimer()
        self._clock = asyncio.get_running_loop()

    def set_link(self, device: str, rate: LinkRate) -> None:
        """Change the link to a device, also under a transfer."""
        self._schedule(device).change(self._clock.time(), rate)
        self._changed.ring()

    def link(self, device: str) -> LinkRate:
        """What the link to a device can do at present."""
        schedule = self._schedules.get(device)
        return self._default if schedule is None else schedule.rate

    async def send(self, device: str, buffers: Sequence[Buffer], *, pace: Pace | None = None) -> SentMessage:
        """Send one frame as slowly as the emulated link does.

        While the link is down this waits, until the link changes or the caller gives up.

        Raises:
            PublishFailed: the transport could not hand it over.
        """
        asked_at_s = self._clock.time()
        async with self._sending:
            started_at_s = self._previous.next_start_s(asked_at_s)
            schedule = self._schedule(device)
            booking = schedule.book(started_at_s, frame_size_bytes(buffers))
            late_s = 0.0

            async def keep_to_schedule(passed_bytes: int) -> None:
                nonlocal late_s
                if pace is not None:
                    await pace(passed_bytes)
                late_s = await self._until_passed(booking, passed_bytes, late_s)

            due_s = math.inf
            try:
                sent = await self._transport.send(device, buffers, pace=keep_to_schedule)
                due_s = booking.deliver_at_s
            finally:
                now_s = self._clock.time()
                schedule.cancel(now_s, booking)
                self._previous = FinishedSend(min(due_s, now_s), late_s, now_s)
            return SentMessage(sent.size_bytes, started_at_s, sent.completed_at_s)

    def __aiter__(self) -> AsyncIterator[Delivery]:
        """Frames that arrive, as the wrapped transport delivers them."""
        return self

    async def __anext__(self) -> Delivery:
        """The next frame that arrives."""
        return await anext(self._transport)

    async def _until_passed(self, booking: Booking, passed_bytes: int, late_s: float) -> float:
        """Wait until so many bytes have passed; return how late that is because of this wake-up or the last one."""
        while self._clock.time() < (due_s := booking.passed_at_s(passed_bytes)):
            await self._changed.wait_until(due_s)
            late_s = math.inf
        return min(late_s, self._clock.time() - due_s)

    def _schedule(self, device: str) -> LinkSchedule:
        if device not in self._schedules:
            self._schedules[device] = LinkSchedule(self._default)
        return self._schedules[device]
