"""Size and rate of the requests that arrive at a stream's source."""

import statistics
from collections import deque
from dataclasses import dataclass, field

from shared.messages.streams import StreamUsage

_SAMPLES = 64
_WINDOW_S = 30.0
# Relative change from which a new figure is published.
_TOLERANCE = 0.2
# Bound of the rate, within that of the message.
_MAX_RATE_HZ = 1e6


@dataclass(slots=True)
class ArrivalStats:
    """Median size and mean rate of the last requests of a stream.

    Attributes:
        stream: name of the stream.
    """

    stream: str
    _arrivals: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_SAMPLES), init=False)
    _published: StreamUsage | None = field(default=None, init=False)

    def add(self, size_bytes: int, now_s: float) -> None:
        """Count a request that arrives at `now_s` (monotonic seconds)."""
        self._arrivals.append((now_s, max(1, size_bytes)))

    def usage(self, now_s: float) -> StreamUsage | None:
        """Return the current figures; None before the first request, no rate with fewer than two recent ones."""
        if not self._arrivals:
            return None
        size_bytes = round(statistics.median(size for _, size in self._arrivals))
        recent = [at_s for at_s, _ in self._arrivals if now_s - at_s <= _WINDOW_S]
        span_s = recent[-1] - recent[0] if len(recent) > 1 else 0.0
        rate_hz = min((len(recent) - 1) / span_s, _MAX_RATE_HZ) if span_s > 0 else None
        return StreamUsage(stream=self.stream, input_bytes=size_bytes, rate_hz=rate_hz)

    @property
    def published(self) -> StreamUsage | None:
        """The figures last returned by `change`; None before."""
        return self._published

    def change(self, now_s: float) -> StreamUsage | None:
        """Return the current figures if they differ by more than a fifth from those last returned here."""
        usage = self.usage(now_s)
        if usage is None or not _differs(usage, self._published):
            return None
        self._published = usage
        return usage


def _differs(new: StreamUsage, old: StreamUsage | None) -> bool:
    if old is None or (new.rate_hz is None) != (old.rate_hz is None):
        return True
    if abs(new.input_bytes - old.input_bytes) > _TOLERANCE * old.input_bytes:
        return True
    return new.rate_hz is not None and abs(new.rate_hz - (old.rate_hz or 0.0)) > _TOLERANCE * (old.rate_hz or 0.0)
