"""Which received messages may be acknowledged to the broker, and in which order. Pure."""

from collections import OrderedDict


class AcknowledgementOrder:
    """Lets acknowledgements out in the order in which the messages came.

    MQTT wants that order (5.0, [MQTT-4.6.0-2]), and rumqttd disconnects a client that breaks it. The application may
    finish in any order: an acknowledgement waits here until all earlier ones have been given. After a crash the
    messages that waited are delivered again, which "at least once" allows.
    """

    def __init__(self) -> None:
        self._given: OrderedDict[int, bool] = OrderedDict()

    def __len__(self) -> int:
        """Messages received and not yet acknowledged to the broker."""
        return len(self._given)

    def received(self, packet_id: int) -> None:
        """A message of QoS 1 has come in. One that is delivered again keeps its place."""
        self._given.setdefault(packet_id, False)

    def acknowledge(self, packet_id: int) -> list[int]:
        """The application is done with a message.

        Returns:
            Packet ids to acknowledge to the broker now, in order. Empty for an id that is not waiting.
        """
        if packet_id not in self._given:
            return []
        self._given[packet_id] = True
        ready: list[int] = []
        while self._given and self._given[next(iter(self._given))]:
            ready.append(self._given.popitem(last=False)[0])
        return ready
