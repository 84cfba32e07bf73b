"""Latencies of a stream's requests on the routes of its plan, as its source measures them by one clock."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from shared.messages.requests import StageTrace
from shared.messages.streams import MAX_LATENCIES, DeviceTime, MeasuredLatencies


@dataclass(slots=True)
class LatencyRecord:
    """Requests that had their result at the first attempt since the last report. The newest `MAX_LATENCIES` count."""

    _epoch: int = field(default=0, init=False)
    _latencies_ms: list[float] = field(default_factory=list, init=False)
    _device_ms: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list), init=False)

    def add(self, epoch: int, latency_ms: float, trace: Iterable[StageTrace]) -> None:
        """Count a request.

        Args:
            epoch: plan under which it was dispatched; those of earlier plans are dropped.
            latency_ms: from its dispatch to its outcome.
            trace: its times on the devices, each by the device's own clock.
        """
        if epoch != self._epoch:
            self.take()
            self._epoch = epoch
        self._latencies_ms.append(latency_ms)
        del self._latencies_ms[:-MAX_LATENCIES]
        own_ms: defaultdict[str, float] = defaultdict(float)
        for stage in trace:
            own_ms[stage.device] += stage.queue_ms + stage.compute_ms
        for device, taken_ms in own_ms.items():
            self._device_ms[device].append(taken_ms)
            del self._device_ms[device][:-MAX_LATENCIES]

    def take(self) -> MeasuredLatencies | None:
        """Return the report and begin the next one; None without requests."""
        if not self._latencies_ms:
            return None
        devices = tuple(DeviceTime(device=device, took_ms=median(own)) for device, own in self._device_ms.items())
        report = MeasuredLatencies(epoch=self._epoch, latencies_ms=tuple(self._latencies_ms), devices=devices)
        self._latencies_ms.clear()
        self._device_ms.clear()
        return report
