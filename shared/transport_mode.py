"""Transports of feature maps, and which of them a stream or a device allows."""

from enum import StrEnum


class Carrier(StrEnum):
    """What has carried a feature map, or would carry the next one."""

    MQTT = "mqtt"
    """The broker."""
    DIRECT = "direct"
    """A connection from device to device."""


class TransportMode(StrEnum):
    """The transports that feature maps may take.

    ``mqtt``: the broker only. ``direct``: connections from device to device only. ``auto``: direct where both devices
    can, else the broker.
    """

    MQTT = "mqtt"
    DIRECT = "direct"
    AUTO = "auto"

    def allows(self, carrier: Carrier) -> bool:
        """Return whether a carrier may be used."""
        return self is TransportMode.AUTO or self.value == carrier.value
