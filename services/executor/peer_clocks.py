"""Monotonic clocks of other devices, beside this device's.

Every time of a request is a duration since its acceptance. Where a request changes devices, the duration goes on: the
sender states the acceptance on its own clock, and the receiver converts it with the offset of the two clocks, which is
estimated from small messages (`ClockExchange`). So no wall clock is compared with that of another machine.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, Protocol

from services.executor.outbox import Outbox
from shared.bus import topics
from shared.clock_offset import ClockOffset
from shared.machine_identity import monotonic_clock_id
from shared.messages.devices import ClockExchange

# An older estimate is refreshed when a feature map comes.
_FRESH_S: Final = 30.0
# Pause between two questions to a device that does not answer.
_PAUSE_S: Final = 1.0
_MAX_PEERS: Final = 1024


@dataclass(slots=True)
class _Peer:
    offset: ClockOffset = field(default_factory=ClockOffset)
    is_same_clock: bool = False
    asked_s: float = float("-inf")


@dataclass(slots=True)
class PeerClocks:
    """The offsets of other devices' clocks.

    Attributes:
        device: name of this device.
        outbox: publishes questions and answers.
    """

    device: str
    outbox: Outbox
    _peers: OrderedDict[str, _Peer] = field(default_factory=OrderedDict, init=False)

    async def refresh(self, peer: str) -> None:
        """Ask a device for its clock, unless the estimate is fresh or the last question recent."""
        now_s = time.monotonic()
        if peer == self.device or not topics.is_name(peer) or not self.is_due(peer, now_s):
            return
        self._peer(peer).asked_s = now_s
        question = ClockExchange(kind="ask", sender=self.device, asked_s=now_s)
        await self.outbox.publish_best_effort(topics.clock(peer), question.encode())

    def is_due(self, peer: str, now_s: float) -> bool:
        """Return whether `refresh` would ask a device."""
        known = self._peers.get(peer)
        return known is None or (known.offset.age_s(now_s) >= _FRESH_S and now_s - known.asked_s >= _PAUSE_S)

    async def exchange(self, message: ClockExchange) -> None:
        """Answer a question, or learn from an answer to an own one."""
        now_s = time.monotonic()
        if message.kind == "ask":
            answer = ClockExchange(
                kind="answer",
                sender=self.device,
                asked_s=message.asked_s,
                arrived_s=now_s,
                answered_s=time.monotonic(),
                clock_id=monotonic_clock_id(),
            )
            await self.outbox.publish_best_effort(topics.clock(message.sender), answer.encode())
            return
        known = self._peers.get(message.sender)
        # Only the answer to the last question: others were repeated, delayed or made up.
        if known is not None and message.asked_s == known.asked_s:
            known.offset.exchanged(message.asked_s, message.arrived_s, message.answered_s, now_s)
            known.is_same_clock = bool(message.clock_id) and message.clock_id == monotonic_clock_id()

    def accepted_s(self, sender: str, accepted_s: float | None, sent_s: float | None, received_s: float) -> float:
        """Return when a request was accepted, on this device's clock.

        Args:
            sender: device that has sent its feature map.
            accepted_s: when it was accepted, on the sender's clock.
            sent_s: when its feature map was sent, on the same clock.
            received_s: when that arrived, on this device's clock.

        Returns:
            The time. Before the first exchange with the sender, the time for which the feature map was under way is
            unknown and counts as 0. An older sender states nothing, and the request counts as accepted on arrival.
        """
        if accepted_s is None or sent_s is None:
            return received_s
        if sender == self.device:
            return accepted_s
        known = self._peers.get(sender)
        if known is not None and known.is_same_clock:
            return min(accepted_s, received_s)
        estimate = None if known is None else known.offset.estimate(received_s)
        if estimate is None:
            return received_s - max(0.0, sent_s - accepted_s)
        # Not later than if it had arrived the moment it was sent.
        return min(accepted_s - estimate.offset_s, received_s - (sent_s - accepted_s))

    def _peer(self, name: str) -> _Peer:
        known = self._peers.setdefault(name, _Peer())
        if len(self._peers) > _MAX_PEERS:
            self._peers.popitem(last=False)
        return known


class TimedRequest(Protocol):
    """Times of a request whose feature map is on this device, as its header or a message of the lane has them."""

    @property
    def accepted_at_s(self) -> float:
        """Acceptance, on the source's wall clock."""

    @property
    def accepted_s(self) -> float | None:
        """Acceptance, on this device's monotonic clock."""

    @property
    def deadline_at_s(self) -> float | None:
        """Deadline, on the source's wall clock."""


def source_time_s(request: TimedRequest, now_s: float) -> float:
    """Return a moment on the wall clock of a request's source: its acceptance plus the time since.

    Args:
        request: its times.
        now_s: the moment, on this device's monotonic clock.
    """
    return request.accepted_at_s + (0.0 if request.accepted_s is None else max(0.0, now_s - request.accepted_s))


def deadline_s(request: TimedRequest) -> float | None:
    """Return the deadline of a request on this device's monotonic clock; None if it has none."""
    if request.deadline_at_s is None or request.accepted_s is None:
        return None
    # Both wall-clock times are of the source, and of the moment of the acceptance.
    return request.accepted_s + (request.deadline_at_s - request.accepted_at_s)
