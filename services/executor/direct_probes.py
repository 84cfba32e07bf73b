"""Probes of direct links: sends those that the monitor orders, and echoes those of other devices.

A monitor has no direct connections of its own. Probes of its executor take the way of the feature maps.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

from services.executor.outbox import Outbox
from shared.bus import topics
from shared.bus.errors import BusError
from shared.bus.feature_maps.emulation import ShapedTransport
from shared.bus.feature_maps.transport import FeatureMapTransport
from shared.direct.direct_probe import ProbeFrames
from shared.direct.direct_transport import ArrivedProbe, DirectReceipt, DirectTransport
from shared.messages.devices import DirectEcho, DirectProbe
from shared.processing_clock import UNREAD_S, ProcessingClock
from shared.transport_mode import TransportMode

# Probes under way at the same time; more are dropped.
_MAX_OPEN: Final = 64
# No monitor waits longer for the echo of a probe.
_LOST_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class DirectProbes:
    """Probes from and to this device on direct connections.

    Attributes:
        direct: connections of this device.
        transport: sends what travels on them, delayed if links are emulated.
        shaped: the same, if links are emulated: echoes take the latency of theirs.
        outbox: publishes the results for the monitor.
        processing: clock of this device's processing time.
        group: runs the probes.
    """

    direct: DirectTransport
    transport: FeatureMapTransport
    shaped: ShapedTransport | None
    outbox: Outbox
    processing: ProcessingClock
    group: asyncio.TaskGroup
    _frames: ProbeFrames = field(default_factory=ProbeFrames, init=False)
    _open: dict[str, tuple[str, asyncio.Future[DirectReceipt]]] = field(default_factory=dict, init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def begin(self, order: DirectProbe) -> None:
        """Begin to send a probe, after connecting if necessary."""
        if len(self._tasks) >= _MAX_OPEN:
            return
        task = self.group.create_task(self._probe(order), name=f"probe {order.target} directly")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def receipt(self, receipt: DirectReceipt) -> bool:
        """Take a receipt; return whether it is that of a probe."""
        target, echoed = self._open.get(receipt.transfer_id, ("", None))
        if echoed is None or target != receipt.receiver:
            return False
        if not echoed.done():
            echoed.set_result(receipt)
        return True

    def lost(self, receiver: str) -> None:
        """Take that the connection to a device has ended."""
        for target, echoed in self._open.values():
            if target == receiver and not echoed.done():
                echoed.cancel()

    async def echo(self) -> None:
        """Echo the probes of other devices until cancelled."""
        loop = asyncio.get_running_loop()
        async for probe in self.direct.probes():
            link = None if self.shaped is None else self.shaped.link(probe.sender)
            if link is None:
                self._acknowledge(probe)
            elif not self._is_cut(probe.sender):
                loop.call_later(link.latency_ms / 1000, self._acknowledge, probe)

    def _acknowledge(self, probe: ArrivedProbe) -> None:
        probe.acknowledge(self.processing.since_ms(probe.first_at_s - UNREAD_S, time.monotonic()))

    def _is_cut(self, target: str) -> bool:
        """Return whether the emulated link to a device is down. A probe would hold up what goes to other devices."""
        return self.shaped is not None and self.shaped.link(target).bandwidth_mbps <= 0

    async def _probe(self, order: DirectProbe) -> None:
        elapsed_ms: float | None = None
        own_s, receiver_ms = self.processing.read_s(), 0.0
        probe_id, frame = self._frames.make(order.size_bytes)
        echoed: asyncio.Future[DirectReceipt] = asyncio.get_running_loop().create_future()
        # Before the send, since the receipt may arrive before `send` returns.
        self._open[probe_id] = order.target, echoed
        try:
            async with asyncio.timeout(_LOST_S):
                if not self._is_cut(order.target) and await self.direct.connected(order.target):
                    sent = await self.transport.send(order.target, frame, mode=TransportMode.DIRECT)
                    # A loss of the connection cancels the future, not this task.
                    await asyncio.wait((echoed,))
                    if not echoed.cancelled():
                        receiver_ms = echoed.result().processing_ms
                        elapsed_ms = max(0.0, 1000 * (echoed.result().at_s - sent.started_at_s))
        except (BusError, TimeoutError):
            # Lost, as a probe through the broker is: the monitor does the rest.
            pass
        finally:
            del self._open[probe_id]
        echo = DirectEcho(
            device=self.outbox.device,
            target=order.target,
            probe_id=order.probe_id,
            elapsed_ms=elapsed_ms,
            processing_ms=receiver_ms + max(0.0, 1000 * (self.processing.read_s() - own_s)),
        )
        await self.outbox.publish_best_effort(topics.observations(self.outbox.device), echo.encode())
