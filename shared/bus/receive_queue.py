"""Messages that have come in and wait for the application: bounded, and says what it dropped."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from shared.bus.properties import NO_PROPERTIES, Properties


def nothing_to_acknowledge() -> None:
    """Do nothing: messages of QoS 0 have no acknowledgement."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message that came in.

    Attributes:
        topic: without the root.
        payload: the bytes, not to be changed.
        properties: the MQTT 5 properties.
        retain: it is a retained message that was there before the subscription.
        qos: 0 or 1, as delivered.
    """

    topic: str
    payload: bytes | memoryview
    properties: Properties = NO_PROPERTIES
    retain: bool = False
    qos: int = 0
    on_acknowledge: Callable[[], None] = field(default=nothing_to_acknowledge, repr=False, compare=False)

    @property
    def user(self) -> Mapping[str, str]:
        """The user properties."""
        return self.properties.user

    def acknowledge(self) -> None:
        """Tell the broker that this message needs no redelivery. Harmless if repeated, or after a reconnect.

        Only needed on connections opened with `manual_ack`; elsewhere a message is acknowledged when the application
        takes it from the iterator. May be called in any order; acknowledgements go out in the order of arrival.
        """
        self.on_acknowledge()


class ReceiveQueue:
    """A queue with one bound per quality of service.

    QoS 0: past the bound the oldest is dropped. QoS 1: the broker holds back by itself (receive maximum, acknowledged
    only when the application has taken the message), so its bound is reached only by leftovers of lost connections or
    by a broker that ignores the receive maximum; then too the oldest goes.
    """

    def __init__(self, qos0_limit: int, qos1_limit: int) -> None:
        self._limits = (qos0_limit, qos1_limit)
        self._waiting: OrderedDict[int, Received] = OrderedDict()
        self._order: tuple[deque[int], deque[int]] = (deque(), deque())
        self._next = 0
        self._arrival = asyncio.Event()
        self.dropped = 0

    def __len__(self) -> int:
        """Messages waiting."""
        return len(self._waiting)

    def put(self, received: Received) -> None:
        """Queue a message, dropping the oldest of its kind if there is no room."""
        kind = min(received.qos, 1)
        order = self._order[kind]
        if len(order) >= self._limits[kind]:
            self._waiting.pop(order.popleft()).acknowledge()
            self.dropped += 1
        self._waiting[self._next] = received
        order.append(self._next)
        self._next += 1
        self._arrival.set()

    async def get(self) -> Received:
        """Wait for the next message, in order of arrival. Safe to cancel: nothing is lost."""
        while not self._waiting:
            self._arrival.clear()
            await self._arrival.wait()
        _, received = self._waiting.popitem(last=False)
        self._order[min(received.qos, 1)].popleft()
        return received

    def discard_unacknowledged(self) -> None:
        """Forget waiting messages of QoS 1, because a resumed session delivers them again."""
        while self._order[1]:
            del self._waiting[self._order[1].popleft()]
