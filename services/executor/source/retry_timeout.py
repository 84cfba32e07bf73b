"""How long a source waits for the outcome of a request before it tries again. Pure."""

from dataclasses import dataclass, field

from services.executor.source.source_events import SourceLimits
from shared.messages.streams import CommittedPlan, PlanRoute

_SMOOTHING = 0.3
_TIMEOUT_FACTOR = 4.0
_MAX_TIMEOUT_S = 120.0


@dataclass(slots=True)
class RetryTimeout:
    """What requests were lately seen to take, and the timeouts that follow from it."""

    limits: SourceLimits
    _observed_ms: float | None = field(default=None, init=False)
    _usual_bytes: float | None = field(default=None, init=False)

    def forget(self) -> None:
        """Another plan is in force: what requests took says nothing about it; their sizes do."""
        self._observed_ms = None

    def observe(self, latency_ms: float, size_bytes: int) -> None:
        """Take what a request of this payload has taken, from dispatch to outcome."""
        self._observed_ms = _smoothed(self._observed_ms, latency_ms)
        self._usual_bytes = _smoothed(self._usual_bytes, size_bytes)

    def timeout_s(
        self, plan: CommittedPlan, route: PlanRoute, attempt: int, in_flight: int, size_bytes: int = 0
    ) -> float:
        """Return four times what is expected, doubled with every attempt.

        Expected is the prediction for as many requests as are under way (they may all queue at one device), or what
        was lately observed if that is more, so that overload does not breed retries. A payload larger than usual may
        take longer in proportion.
        """
        predicted_ms = (route.predicted_ms or 0.0) * max(1, in_flight)
        expected_ms = max(predicted_ms, self._observed_ms or 0.0)
        if self._usual_bytes:
            expected_ms *= max(1.0, size_bytes / self._usual_bytes)
        if expected_ms > 0:
            base_s = max(self.limits.minimum_timeout_s, _TIMEOUT_FACTOR * expected_ms / 1000)
        elif plan.deadline_ms is not None:
            base_s = max(self.limits.minimum_timeout_s, 2 * plan.deadline_ms / 1000)
        else:
            base_s = self.limits.unpredicted_timeout_s
        return float(min(_MAX_TIMEOUT_S, base_s * 2 ** min(attempt - 1, 10)))


def _smoothed(before: float | None, value: float) -> float:
    return value if before is None else (1 - _SMOOTHING) * before + _SMOOTHING * value
