"""Outcomes of a source's finished requests: selection of those to publish again and of those to remove."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from services.executor.source.source_events import Republish, Request, RestoredOutcome, SourceLimits

# Outcomes published again per round, so that a new collector is not flooded.
_MAX_REPUBLISHED_AT_ONCE = 32


@dataclass(slots=True)
class _Remembered:
    size_bytes: int
    finished_s: float
    republish_s: float
    interval_s: float
    confirmed: bool = False
    # Its request, until the broker has acknowledged the outcome.
    unpublished: Request | None = None


@dataclass(slots=True)
class OutcomeMemory:
    """Finished requests, oldest first; the outcomes themselves are in the journal.

    Invariant: `_size_bytes` and `_confirmed` are the total size and the number of confirmed ones of `_outcomes`.

    Attributes:
        limits: bounds and intervals.
    """

    limits: SourceLimits
    _outcomes: OrderedDict[str, _Remembered] = field(default_factory=OrderedDict, init=False)
    _size_bytes: int = field(default=0, init=False)
    _confirmed: int = field(default=0, init=False)

    def __contains__(self, request_id: str) -> bool:
        """Return whether the outcome of this request is remembered."""
        return request_id in self._outcomes

    def __len__(self) -> int:
        """Return the number of remembered outcomes."""
        return len(self._outcomes)

    def add(self, request: Request, size_bytes: int, now_s: float, *, is_published: bool = False) -> None:
        """Remember an outcome of `now_s` (monotonic seconds), which is published now or has been."""
        interval_s = self.limits.republish_interval_s
        self._outcomes[request.request_id] = _Remembered(
            size_bytes, now_s, now_s + interval_s, interval_s, unpublished=None if is_published else request
        )
        self._size_bytes += size_bytes

    def restore(self, outcome: RestoredOutcome, now_s: float) -> None:
        """Remember an outcome from before a restart; it is due at once, unless it is published and confirmed."""
        interval_s = self.limits.republish_interval_s
        self._outcomes[outcome.request_id] = _Remembered(
            outcome.size_bytes, now_s - outcome.age_s, now_s, interval_s, outcome.confirmed, outcome.unpublished
        )
        self._size_bytes += outcome.size_bytes
        self._confirmed += outcome.confirmed

    def note_published(self, request_ids: Iterable[str]) -> tuple[str, ...]:
        """Mark outcomes as acknowledged by the broker; return those that were not marked before."""
        newly_published = []
        for request_id in request_ids:
            outcome = self._outcomes.get(request_id)
            if outcome is not None and outcome.unpublished is not None:
                outcome.unpublished = None
                newly_published.append(request_id)
        return tuple(newly_published)

    def confirm(self, request_ids: Iterable[str]) -> tuple[str, ...]:
        """Mark outcomes as stored by a collector; return those that were not marked before."""
        newly_confirmed = []
        for request_id in request_ids:
            outcome = self._outcomes.get(request_id)
            if outcome is not None and not outcome.confirmed:
                outcome.confirmed, outcome.unpublished = True, None
                newly_confirmed.append(request_id)
        self._confirmed += len(newly_confirmed)
        return tuple(newly_confirmed)

    def due(self, now_s: float, *, has_collector: bool) -> tuple[Republish, ...]:
        """Return the outcomes to publish again now; the pauses double up to a ceiling.

        Args:
            now_s: monotonic seconds.
            has_collector: whether those count too that the broker has, and no collector has confirmed.
        """
        due: list[Republish] = []
        for request_id, outcome in self._outcomes.items():
            request = outcome.unpublished
            is_awaited = request is not None or (has_collector and not outcome.confirmed)
            if not is_awaited or now_s < outcome.republish_s:
                continue
            outcome.republish_s = now_s + outcome.interval_s
            outcome.interval_s = min(2 * outcome.interval_s, self.limits.republish_ceiling_s)
            if request is None:
                due.append(Republish(request_id, with_outputs=False))
            else:
                due.append(Republish(request_id, request.response_topic, request.correlation_data))
            if len(due) == _MAX_REPUBLISHED_AT_ONCE:
                break
        return tuple(due)

    def trim(self, now_s: float) -> tuple[str, ...]:
        """Forget outcomes past their age, then the oldest beyond the bounds, confirmed ones first; return their ids."""
        limits = self.limits
        forgotten = [
            request_id
            for request_id, outcome in self._outcomes.items()
            if now_s - outcome.finished_s > limits.outcome_age_s
        ]
        for request_id in forgotten:
            self._drop(request_id)
        surplus = self._confirmed - limits.max_confirmed_outcomes
        if surplus > 0 or self._is_over():
            confirmed = [request_id for request_id, outcome in self._outcomes.items() if outcome.confirmed]
            for request_id in confirmed:
                if surplus <= 0 and not self._is_over():
                    break
                self._drop(request_id)
                forgotten.append(request_id)
                surplus -= 1
        # Last resort: unconfirmed outcomes are dropped when no collector has been online for long.
        while self._is_over():
            oldest = next(iter(self._outcomes))
            self._drop(oldest)
            forgotten.append(oldest)
        return tuple(forgotten)

    def _is_over(self) -> bool:
        return len(self._outcomes) > self.limits.max_outcomes or self._size_bytes > self.limits.max_outcome_bytes

    def _drop(self, request_id: str) -> None:
        outcome = self._outcomes.pop(request_id)
        self._size_bytes -= outcome.size_bytes
        self._confirmed -= outcome.confirmed
