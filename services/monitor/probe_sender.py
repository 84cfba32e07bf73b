"""Sends probes and echoes to other monitors, delayed as the emulated link delays them, and orders direct probes."""

import asyncio
import logging
import os
from typing import Final

from services.monitor.emulated_conditions import EmulatedConditions
from services.monitor.probe_settings import ProbeSettings, SendProbe
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.errors import BusError
from shared.messages.devices import DirectProbe, Probe
from shared.transport_mode import Carrier

_LOGGER = logging.getLogger(__name__)

# Probes and echoes under way at the same time; more are dropped, as on a congested network.
MAX_SENDING: Final = 64
_BLOCK_BYTES: Final = 64 * 1024


class ProbeSender:
    """Probes and echoes of one device; each is sent by a task of its own.

    The executor sends the probes of direct links: it has the connections, and delays what it sends on emulated links.
    Losses are normal: the prober repeats what gets no echo. So nothing here raises or waits for confirmation.
    """

    def __init__(
        self,
        device: str,
        settings: ProbeSettings,
        conditions: EmulatedConditions,
        group: asyncio.TaskGroup,
        *,
        probes: Connection,
        control: Connection,
    ) -> None:
        """Prepare the padding.

        Args:
            device: name of this device.
            settings: bound the time that a message may take.
            conditions: delays of the emulated links.
            group: runs the tasks.
            probes: carries probes and echoes.
            control: carries the orders of direct probes.
        """
        self._device = device
        self._conditions = conditions
        self._group = group
        self._probes = probes
        self._control = control
        # After four timeouts the prober has given up even a padded probe.
        self._lost_s = 4 * settings.timeout_s
        # Random, because a carrier may compress it. Repeated in a probe, since compressors look back no further.
        self._block = os.urandom(_BLOCK_BYTES)
        self._sending = 0

    def send(self, probe: SendProbe) -> None:
        """Begin to send a probe, or to order it."""
        if probe.carrier is Carrier.DIRECT:
            order = DirectProbe(probe_id=probe.probe_id, target=probe.target, size_bytes=probe.padding_bytes)
            self._group.create_task(self._order(order), name=f"order a probe of {probe.target}")
            return
        message = Probe(
            kind="probe",
            probe_id=probe.probe_id,
            sender=self._device,
            size_bytes=probe.padding_bytes,
            padding=(self._block * (1 + probe.padding_bytes // _BLOCK_BYTES))[: probe.padding_bytes],
        )
        self._begin(probe.target, message)

    def echo(self, probe: Probe, *, processing_ms: float = 0.0) -> None:
        """Begin to send a probe back, without its padding, and with the processing time of its arrival."""
        update = {"kind": "echo", "sender": self._device, "padding": b"", "processing_ms": processing_ms}
        self._begin(probe.sender, probe.model_copy(update=update))

    def _begin(self, target: str, message: Probe) -> None:
        if self._sending >= MAX_SENDING:
            return
        self._sending += 1
        self._group.create_task(self._deliver(target, message), name=f"{message.kind} to {target}")

    async def _deliver(self, target: str, message: Probe) -> None:
        try:
            payload = message.encode()
            if await self._conditions.until_delivered(target, len(payload), self._lost_s):
                await self._probes.publish(topics.probes(target), payload, qos=0)
        except BusError as error:
            _LOGGER.debug("a probe to %s was lost: %s", target, error)
        finally:
            self._sending -= 1

    async def _order(self, order: DirectProbe) -> None:
        try:
            await self._control.publish(topics.direct_probes(self._device), order.encode(), qos=0)
        except BusError as error:
            _LOGGER.debug("a direct probe to %s was not ordered: %s", order.target, error)
