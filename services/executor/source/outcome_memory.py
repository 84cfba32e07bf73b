"""Which outcomes a source still owes the collectors, and which it may forget. Pure."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from services.executor.source.source_events import RestoredOutcome, SourceLimits

_MAX_ANNOUNCED_AT_ONCE = 32


@dataclass(slots=True)
class _Remembered:
    size_bytes: int
    finished_s: float
    announce_s: float
    interval_s: float
    confirmed: bool = False


@dataclass(slots=True)
class OutcomeMemory:
    """Finished requests, oldest first. Their outcomes themselves are in the journal."""

    limits: SourceLimits
    _outcomes: OrderedDict[str, _Remembered] = field(default_factory=OrderedDict, init=False)
    _size_bytes: int = field(default=0, init=False)
    _confirmed: int = field(default=0, init=False)

    def __contains__(self, request_id: str) -> bool:
        """Whether the outcome of this request is known."""
        return request_id in self._outcomes

    def __len__(self) -> int:
        """Return how many outcomes are known."""
        return len(self._outcomes)

    def add(self, request_id: str, size_bytes: int, now_s: float) -> None:
        """Remember an outcome that has just been published."""
        interval_s = self.limits.republish_interval_s
        self._outcomes[request_id] = _Remembered(size_bytes, now_s, now_s + interval_s, interval_s)
        self._size_bytes += size_bytes

    def restore(self, outcome: RestoredOutcome, now_s: float) -> None:
        """Remember an outcome of a former life; it is announced again at the next occasion."""
        interval_s = self.limits.republish_interval_s
        self._outcomes[outcome.request_id] = _Remembered(
            outcome.size_bytes, now_s - outcome.age_s, now_s, interval_s, outcome.confirmed
        )
        self._size_bytes += outcome.size_bytes
        self._confirmed += outcome.confirmed

    def confirm(self, request_ids: Iterable[str]) -> tuple[str, ...]:
        """Note that collectors have these; return those of which that is news."""
        news = []
        for request_id in request_ids:
            outcome = self._outcomes.get(request_id)
            if outcome is not None and not outcome.confirmed:
                outcome.confirmed = True
                news.append(request_id)
        self._confirmed += len(news)
        return tuple(news)

    def due(self, now_s: float) -> tuple[str, ...]:
        """Return the unconfirmed outcomes to announce again now; the pauses double up to a ceiling."""
        found: list[str] = []
        for request_id, outcome in self._outcomes.items():
            if outcome.confirmed or now_s < outcome.announce_s:
                continue
            outcome.announce_s = now_s + outcome.interval_s
            outcome.interval_s = min(2 * outcome.interval_s, self.limits.republish_ceiling_s)
            found.append(request_id)
            if len(found) == _MAX_ANNOUNCED_AT_ONCE:
                break
        return tuple(found)

    def trim(self, now_s: float) -> tuple[str, ...]:
        """Forget outcomes past their age, then the oldest past the bounds, confirmed ones first; return which."""
        limits = self.limits
        gone = [known for known, each in self._outcomes.items() if now_s - each.finished_s > limits.outcome_age_s]
        for known in gone:
            self._drop(known)
        surplus = self._confirmed - limits.max_confirmed_outcomes
        if surplus > 0 or self._is_over():
            confirmed = [known for known, each in self._outcomes.items() if each.confirmed]
            for known in confirmed:
                if surplus <= 0 and not self._is_over():
                    break
                self._drop(known)
                gone.append(known)
                surplus -= 1
        while self._is_over():
            oldest = next(iter(self._outcomes))
            self._drop(oldest)
            gone.append(oldest)
        return tuple(gone)

    def _is_over(self) -> bool:
        return len(self._outcomes) > self.limits.max_outcomes or self._size_bytes > self.limits.max_outcome_bytes

    def _drop(self, request_id: str) -> None:
        outcome = self._outcomes.pop(request_id)
        self._size_bytes -= outcome.size_bytes
        self._confirmed -= outcome.confirmed
