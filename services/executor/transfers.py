"""What a device's own transfers say about its links: time until the receipt, or that it is overdue. Pure."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from shared.link_time import transfer_ms
from shared.messages.devices import LinkEstimate, TransferObservation

OVERDUE_FACTOR = 3.0
_SHORTEST_OVERDUE_MS = 250.0
_UNKNOWN_OVERDUE_MS = 2000.0
_MAX_UNDER_WAY = 1024
_SMOOTHING = 0.3


@dataclass(slots=True)
class _Transfer:
    target: str
    size_bytes: int
    started_s: float
    is_reported: bool = False


@dataclass(slots=True)
class TransferLedger:
    """The transfers of a device that have begun and are not yet acknowledged by their receivers."""

    device: str
    _under_way: OrderedDict[str, _Transfer] = field(default_factory=OrderedDict, init=False)
    _estimates: dict[str, LinkEstimate] = field(default_factory=dict, init=False)
    _ms_per_byte: dict[str, float] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        """Return how many are under way."""
        return len(self._under_way)

    def learn(self, links: Iterable[LinkEstimate]) -> None:
        """Take over what the device's monitor says of its links."""
        self._estimates.update({link.target: link for link in links})

    def expected_ms(self, target: str, size_bytes: int) -> float | None:
        """Return what a transfer should take, none if nothing is known of the link."""
        link = self._estimates.get(target)
        if link is not None and link.bandwidth_mbps > 0:
            return transfer_ms(size_bytes, link.latency_ms, link.bandwidth_mbps)
        rate = self._ms_per_byte.get(target)
        return None if rate is None else rate * size_bytes

    def started(self, transfer_id: str, target: str, size_bytes: int, now_s: float) -> None:
        """Note that the first byte goes out now."""
        self._under_way[transfer_id] = _Transfer(target, size_bytes, now_s)
        if len(self._under_way) > _MAX_UNDER_WAY:
            self._under_way.popitem(last=False)

    def began(self, transfer_id: str, started_s: float) -> None:
        """Correct when the first byte went out, as far as the receipt is not there yet."""
        if (transfer := self._under_way.get(transfer_id)) is not None:
            transfer.started_s = started_s

    def abandoned(self, transfer_id: str) -> None:
        """Note that a transfer could not be handed over."""
        self._under_way.pop(transfer_id, None)

    def received(self, transfer_id: str, receiver: str, now_s: float) -> TransferObservation | None:
        """Take a receipt; none if it is not for a transfer under way."""
        transfer = self._under_way.get(transfer_id)
        if transfer is None or transfer.target != receiver:
            return None
        del self._under_way[transfer_id]
        elapsed_ms = max(0.0, 1000 * (now_s - transfer.started_s))
        rate = elapsed_ms / max(1, transfer.size_bytes)
        before = self._ms_per_byte.get(receiver, rate)
        self._ms_per_byte[receiver] = (1 - _SMOOTHING) * before + _SMOOTHING * rate
        return self._observation(transfer, elapsed_ms, finished=True)

    def overdue(self, now_s: float) -> list[TransferObservation]:
        """Return the transfers that have just become overdue; each is reported once."""
        found = []
        for transfer in self._under_way.values():
            elapsed_ms = 1000 * (now_s - transfer.started_s)
            if not transfer.is_reported and elapsed_ms > self.overdue_after_ms(transfer.target, transfer.size_bytes):
                transfer.is_reported = True
                found.append(self._observation(transfer, elapsed_ms, finished=False))
        return found

    def overdue_after_ms(self, target: str, size_bytes: int) -> float:
        """Return how long a transfer may take before it is overdue."""
        expected_ms = self.expected_ms(target, size_bytes)
        return _UNKNOWN_OVERDUE_MS if expected_ms is None else max(_SHORTEST_OVERDUE_MS, OVERDUE_FACTOR * expected_ms)

    def _observation(self, transfer: _Transfer, elapsed_ms: float, *, finished: bool) -> TransferObservation:
        return TransferObservation(
            device=self.device,
            target=transfer.target,
            size_bytes=transfer.size_bytes,
            elapsed_ms=elapsed_ms,
            finished=finished,
        )
