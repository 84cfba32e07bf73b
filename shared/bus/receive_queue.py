"""The bounded queue of received messages between the network and the application."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from shared.bus.mqtt.properties import NO_PROPERTIES, Properties


def nothing_to_acknowledge() -> None:
    """Do nothing: messages of QoS 0 have no acknowledgement."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message that was received.

    Attributes:
        topic: without the root.
        payload: the bytes. Treat them as read-only.
        properties: the MQTT 5 properties.
        retain: the broker had retained it before the subscription.
        qos: 0 or 1, as delivered.
        skipped_bytes: size of a payload beyond the connection's bound, which was not kept; else 0.
        on_acknowledge: called by `acknowledge`.
    """

    topic: str
    payload: bytes | memoryview
    properties: Properties = NO_PROPERTIES
    retain: bool = False
    qos: int = 0
    skipped_bytes: int = 0
    on_acknowledge: Callable[[], None] = field(default=nothing_to_acknowledge, repr=False, compare=False)

    @property
    def user(self) -> Mapping[str, str]:
        """The user properties."""
        return self.properties.user

    def acknowledge(self) -> None:
        """Acknowledge the message to the broker, which then does not deliver it again.

        Only needed on connections opened with `manual_ack`. Elsewhere a message is acknowledged when the application
        takes it from the iterator. Call it in any order: acknowledgements leave in the order of arrival. Without
        effect if repeated, or after a reconnect.
        """
        self.on_acknowledge()


class ReceiveQueue:
    """A first-in first-out queue with one bound per quality of service. Beyond it the oldest message is dropped.

    For QoS 0 dropping is the only flow control. For QoS 1 the broker sends no more than the receive maximum ahead of
    acknowledgements (MQTT 5.0, 3.3.4). A message is acknowledged when the application takes it. The bound of QoS 1 is
    only reached by leftovers of lost connections, or with a broker that ignores the receive maximum.

    Invariants. `_waiting` maps arrival numbers to messages in ascending order. `_order[q]` holds the numbers of the
    waiting messages of quality of service q, in the same order.

    Attributes:
        dropped: number of messages dropped so far.
    """

    def __init__(self, qos0_limit: int, qos1_limit: int) -> None:
        self._limits = (qos0_limit, qos1_limit)
        # One order for taking, one per quality of service for dropping: each in constant time.
        self._waiting: OrderedDict[int, Received] = OrderedDict()
        self._order: tuple[deque[int], deque[int]] = (deque(), deque())
        self._next = 0
        self._arrival = asyncio.Event()
        self.dropped = 0

    def __len__(self) -> int:
        """Return the number of waiting messages."""
        return len(self._waiting)

    def put(self, received: Received) -> None:
        """Queue a message. If the queue is full, drop the oldest of the same quality of service."""
        kind = min(received.qos, 1)
        order = self._order[kind]
        if len(order) >= self._limits[kind]:
            # A dropped message must not hold back the acknowledgements of those after it.
            self._waiting.pop(order.popleft()).acknowledge()
            self.dropped += 1
        self._waiting[self._next] = received
        order.append(self._next)
        self._next += 1
        self._arrival.set()

    async def get(self) -> Received:
        """Return the next message in order of arrival. Safe to cancel: no message is lost."""
        # A loop: another task may have taken the message that set the event.
        while not self._waiting:
            self._arrival.clear()
            await self._arrival.wait()
        _, received = self._waiting.popitem(last=False)
        self._order[min(received.qos, 1)].popleft()
        return received

    def discard_unacknowledged(self) -> None:
        """Drop the waiting messages of QoS 1. A resumed session delivers them again (MQTT 5.0, 4.4)."""
        # Without acknowledging them: their packet identifiers belong to the lost connection.
        while self._order[1]:
            del self._waiting[self._order[1].popleft()]
