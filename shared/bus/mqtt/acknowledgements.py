"""The order in which received messages are acknowledged to the broker."""

from collections import OrderedDict


class AcknowledgementOrder:
    """Releases acknowledgements in the order in which the messages arrived.

    MQTT requires that order (5.0, 4.6, [MQTT-4.6.0-2]), and rumqttd disconnects a client that breaks it. The
    application may finish in any order. An acknowledgement waits here until the application has finished all earlier
    messages. After a crash the broker delivers the messages that waited again, as "at least once" allows.

    Invariant: the first entry, if any, is a message that the application has not finished.
    """

    def __init__(self) -> None:
        self._finished: OrderedDict[int, bool] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of messages received and not yet acknowledged to the broker."""
        return len(self._finished)

    def received(self, packet_id: int) -> None:
        """Append a message of QoS 1. One that is delivered again keeps its place."""
        self._finished.setdefault(packet_id, False)

    def acknowledge(self, packet_id: int) -> list[int]:
        """Mark a message as finished by the application.

        Returns:
            Packet ids to acknowledge to the broker now, in order. Empty for an id that is not waiting.
        """
        if packet_id not in self._finished:
            return []
        self._finished[packet_id] = True
        ready: list[int] = []
        # All finished messages at the head of the queue; the first unfinished one delays those behind it.
        while self._finished and self._finished[next(iter(self._finished))]:
            ready.append(self._finished.popitem(last=False)[0])
        return ready
