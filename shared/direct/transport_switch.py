"""The choice between direct connections and the broker, frame by frame."""

from collections.abc import Sequence

from shared.bus.feature_maps.chunk_sender import Pace
from shared.bus.feature_maps.transport import BrokerTransport, SentMessage
from shared.bus.frame import Buffer
from shared.direct.direct_channel import DirectSendFailed
from shared.direct.direct_messages import PART_BYTES
from shared.direct.direct_transport import DirectTransport
from shared.transport_mode import Carrier, TransportMode


class TransportSwitch:
    """Sends a frame directly where that is allowed and the receiver is connected, else through the broker.

    A frame whose connection ends while it is sent has not arrived, so it goes through the broker at once. In mode
    ``direct`` it waits for a connection instead, and fails without one.
    """

    def __init__(self, broker: BrokerTransport, direct: DirectTransport | None, mode: TransportMode) -> None:
        """Choose between transports.

        Args:
            broker: the way that always exists.
            direct: direct connections; None if this device has none.
            mode: carriers that are allowed where the caller of `send` does not state them.
        """
        self._broker = broker
        self._direct = direct
        self._mode = mode

    async def send(
        self, device: str, buffers: Sequence[Buffer], *, pace: Pace | None = None, mode: TransportMode | None = None
    ) -> SentMessage:
        """Send one frame.

        Raises:
            BusError: no allowed carrier could send it.
        """
        allowed = self._mode if mode is None else mode
        if self._direct is None or not allowed.allows(Carrier.DIRECT):
            return await self._broker.send(device, buffers, pace=pace, mode=allowed)
        if not allowed.allows(Carrier.MQTT):
            await self._direct.connected(device)
            return await self._direct.send(device, buffers, pace=pace)
        if self._direct.is_connected(device):
            try:
                return await self._direct.send(device, buffers, pace=pace)
            except DirectSendFailed:
                # The receiver cannot have all of it. The broker carries it from its first byte.
                pass
        self._direct.connect(device)
        return await self._broker.send(device, buffers, pace=pace)

    def carrier(self, device: str, mode: TransportMode | None = None) -> Carrier:
        """Return what would carry a frame to a device now."""
        allowed = self._mode if mode is None else mode
        if self._direct is None or not allowed.allows(Carrier.DIRECT):
            return Carrier.MQTT
        is_direct = self._direct.is_connected(device) or not allowed.allows(Carrier.MQTT)
        return Carrier.DIRECT if is_direct else Carrier.MQTT

    def passes_others(self, device: str, size_bytes: int, mode: TransportMode | None = None) -> bool:
        """Return whether a frame is so small that a direct connection sends it between the parts of a larger one."""
        return size_bytes <= PART_BYTES and self.carrier(device, mode) is Carrier.DIRECT

    def send_now(self, device: str, buffers: Sequence[Buffer], mode: TransportMode | None = None) -> bool:
        """Send one small frame at once on the carrier that `carrier` names, or return False."""
        allowed = self._mode if mode is None else mode
        if self.carrier(device, allowed) is Carrier.DIRECT:
            return self._direct is not None and self._direct.send_now(device, buffers)
        if self._direct is not None and allowed.allows(Carrier.DIRECT):
            self._direct.connect(device)
        return self._broker.send_now(device, buffers, allowed)
