"""Ledger of the transfers that await their receipt, and the observations of links that follow from them."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from shared.link_time import transfer_ms
from shared.messages.devices import LinkEstimate, TransferObservation
from shared.messages.requests import FeatureMapHeader
from shared.transport_mode import Carrier

# A transfer is overdue after this multiple of its expected time.
OVERDUE_FACTOR = 3.0
_SHORTEST_OVERDUE_MS = 250.0
_UNKNOWN_OVERDUE_MS = 2000.0
_MAX_OPEN = 1024
# Weight of the newest transfer in the smoothed time per byte of a link.
_SMOOTHING = 0.3


@dataclass(slots=True)
class _Transfer:
    target: str
    size_bytes: int
    started_s: float
    processing_s: float
    carrier: Carrier
    header: FeatureMapHeader | None
    is_sent: bool = False
    is_reported: bool = False


@dataclass(slots=True)
class TransferLedger:
    """Transfers of this device that have begun and have no receipt yet.

    A transfer is observed when its receipt arrives, and once when it becomes overdue. An overdue transfer bounds the
    bandwidth of its link from above. The ledger is bounded; the oldest transfer is dropped for a new one.

    Attributes:
        device: name of this device.
        processing_s: reads the clock of this device's processing time (`ProcessingClock`).
    """

    device: str
    processing_s: Callable[[], float] = lambda: 0.0
    _open: OrderedDict[str, _Transfer] = field(default_factory=OrderedDict, init=False)
    _estimates: dict[tuple[str, Carrier], LinkEstimate] = field(default_factory=dict, init=False)
    _ms_per_byte: dict[tuple[str, Carrier], float] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        """Return the number of transfers without a receipt."""
        return len(self._open)

    @property
    def has_unreported(self) -> bool:
        """True while a transfer without a receipt may become overdue."""
        return any(not transfer.is_reported for transfer in self._open.values())

    def learn(self, links: Iterable[LinkEstimate]) -> None:
        """Store the monitor's estimates of this device's links."""
        known = {(link.target, link.transport): link for link in links}
        # A link that is missing is down: its last estimate still says when a transfer is overdue. One that carries
        # nothing directly is missing as well, and its last estimate says nothing.
        kept = {key: link for key, link in self._estimates.items() if key[1] is Carrier.MQTT}
        self._estimates = {**kept, **known}

    def expected_ms(self, target: str, size_bytes: int, carrier: Carrier = Carrier.MQTT) -> float | None:
        """Return the expected time of a transfer, in ms; None for a link without an estimate or an earlier transfer."""
        link = self._estimates.get((target, carrier))
        if link is not None and link.bandwidth_mbps > 0:
            return transfer_ms(size_bytes, link.latency_ms, link.bandwidth_mbps)
        rate = self._ms_per_byte.get((target, carrier))
        return None if rate is None else rate * size_bytes

    def started(
        self,
        transfer_id: str,
        target: str,
        size_bytes: int,
        now_s: float,
        carrier: Carrier = Carrier.MQTT,
        header: FeatureMapHeader | None = None,
    ) -> None:
        """Record a transfer whose first byte is sent at `now_s` (monotonic seconds).

        Args:
            transfer_id: its id.
            target: its receiver.
            size_bytes: its size.
            now_s: when it begins.
            carrier: what is expected to carry it.
            header: of the feature map, which `lost` returns.
        """
        # Receipts are QoS 0 and may be lost, so that transfers without one would pile up.
        self._open[transfer_id] = _Transfer(target, size_bytes, now_s, self.processing_s(), carrier, header)
        if len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)

    def sent(self, transfer_id: str, started_s: float, carrier: Carrier = Carrier.MQTT) -> None:
        """Take that a transfer has been sent: when its first byte went, and what has carried it.

        Ignored if the receipt has arrived already.
        """
        if (transfer := self._open.get(transfer_id)) is not None:
            transfer.started_s, transfer.carrier, transfer.is_sent = started_s, carrier, True

    def lost(self, target: str) -> list[FeatureMapHeader]:
        """Remove the transfers that a direct connection to `target` took with it, and return their headers."""
        # A transfer that is not sent yet is its sender's business: it fails, or goes another way.
        lost = {
            transfer_id: transfer.header
            for transfer_id, transfer in self._open.items()
            if transfer.target == target and transfer.carrier is Carrier.DIRECT and transfer.is_sent
        }
        for transfer_id in lost:
            del self._open[transfer_id]
        return [header for header in lost.values() if header is not None]

    def abandoned(self, transfer_id: str) -> None:
        """Remove a transfer that was not sent completely."""
        self._open.pop(transfer_id, None)

    def received(
        self, transfer_id: str, receiver: str, now_s: float, *, processing_ms: float = 0.0
    ) -> TransferObservation | None:
        """Take a receipt and return its observation; None if no such transfer awaits one from this device.

        Args:
            transfer_id: as sent.
            receiver: device that received it.
            now_s: monotonic seconds.
            processing_ms: processing time at the receiver.
        """
        transfer = self._open.get(transfer_id)
        if transfer is None or transfer.target != receiver:
            return None
        del self._open[transfer_id]
        elapsed_ms = max(0.0, 1000 * (now_s - transfer.started_s))
        # The time per byte replaces the monitor's estimate until there is one. It includes the latency.
        rate = elapsed_ms / max(1, transfer.size_bytes)
        link = receiver, transfer.carrier
        before = self._ms_per_byte.get(link, rate)
        self._ms_per_byte[link] = (1 - _SMOOTHING) * before + _SMOOTHING * rate
        return self._observation(transfer, elapsed_ms, processing_ms, finished=True)

    def overdue(self, now_s: float) -> list[TransferObservation]:
        """Return observations of the transfers that have become overdue; each transfer is reported once."""
        observations = []
        for transfer in self._open.values():
            elapsed_ms = 1000 * (now_s - transfer.started_s)
            if not transfer.is_reported and elapsed_ms > self.overdue_after_ms(
                transfer.target, transfer.size_bytes, transfer.carrier
            ):
                transfer.is_reported = True
                observations.append(self._observation(transfer, elapsed_ms, 0.0, finished=False))
        return observations

    def overdue_after_ms(self, target: str, size_bytes: int, carrier: Carrier = Carrier.MQTT) -> float:
        """Return after which time a transfer is overdue, in ms."""
        expected_ms = self.expected_ms(target, size_bytes, carrier)
        return _UNKNOWN_OVERDUE_MS if expected_ms is None else max(_SHORTEST_OVERDUE_MS, OVERDUE_FACTOR * expected_ms)

    def _observation(
        self, transfer: _Transfer, elapsed_ms: float, receiver_ms: float, *, finished: bool
    ) -> TransferObservation:
        own_ms = max(0.0, 1000 * (self.processing_s() - transfer.processing_s))
        return TransferObservation(
            device=self.device,
            target=transfer.target,
            size_bytes=transfer.size_bytes,
            elapsed_ms=elapsed_ms,
            finished=finished,
            processing_ms=min(own_ms + receiver_ms, elapsed_ms),
            transport=transfer.carrier,
        )
