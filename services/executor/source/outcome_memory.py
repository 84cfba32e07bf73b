"""Outcomes of a source's finished requests: selection of those to publish again and of those to remove."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from services.executor.source.source_events import RestoredOutcome, SourceLimits

# Outcomes published again per round, so that a new collector is not flooded.
_MAX_REPUBLISHED_AT_ONCE = 32


@dataclass(slots=True)
class _Remembered:
    size_bytes: int
    finished_s: float
    republish_s: float
    interval_s: float
    confirmed: bool = False


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

    def add(self, request_id: str, size_bytes: int, now_s: float) -> None:
        """Remember an outcome that was published at `now_s` (monotonic seconds)."""
        interval_s = self.limits.republish_interval_s
        self._outcomes[request_id] = _Remembered(size_bytes, now_s, now_s + interval_s, interval_s)
        self._size_bytes += size_bytes

    def restore(self, outcome: RestoredOutcome, now_s: float) -> None:
        """Remember an outcome from before a restart; it is published again at the next occasion if unconfirmed."""
        interval_s = self.limits.republish_interval_s
        self._outcomes[outcome.request_id] = _Remembered(
            outcome.size_bytes, now_s - outcome.age_s, now_s, interval_s, outcome.confirmed
        )
        self._size_bytes += outcome.size_bytes
        self._confirmed += outcome.confirmed

    def confirm(self, request_ids: Iterable[str]) -> tuple[str, ...]:
        """Mark outcomes as stored by a collector; return those that were not marked before."""
        newly_confirmed = []
        for request_id in request_ids:
            outcome = self._outcomes.get(request_id)
            if outcome is not None and not outcome.confirmed:
                outcome.confirmed = True
                newly_confirmed.append(request_id)
        self._confirmed += len(newly_confirmed)
        return tuple(newly_confirmed)

    def due(self, now_s: float) -> tuple[str, ...]:
        """Return the unconfirmed outcomes to publish again now; the pauses double up to a ceiling."""
        due: list[str] = []
        for request_id, outcome in self._outcomes.items():
            if outcome.confirmed or now_s < outcome.republish_s:
                continue
            outcome.republish_s = now_s + outcome.interval_s
            outcome.interval_s = min(2 * outcome.interval_s, self.limits.republish_ceiling_s)
            due.append(request_id)
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
