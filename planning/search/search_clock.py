"""The end of a search by a clock, which the caller brings: strategies read none of their own."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

# The least time of a search. A smaller time budget limits the work only, so that small problems are solved.
LEAST_TIME_S = 0.1


class OutOfTime(Exception):
    """The time of a search is over; whoever has a plan already goes on with it."""


@dataclass(frozen=True, slots=True)
class SearchClock:
    """A clock, and the time on it at which a search has to end.

    It is a backstop. The time budget is an amount of work, which on usual machines is done before.

    Attributes:
        now_s: returns the time in seconds, never less than before. Infinity ends every search at once.
        ends_s: the end, on the same clock.
    """

    now_s: Callable[[], float]
    ends_s: float = inf

    @classmethod
    def of_budget(cls, now_s: Callable[[], float], time_budget_s: float) -> "SearchClock":
        """Return the clock of a search that begins now and may last for ``time_budget_s``, or LEAST_TIME_S."""
        return cls(now_s, now_s() + max(LEAST_TIME_S, time_budget_s))

    def left_s(self) -> float:
        """Return the time that is left, at least 0."""
        return max(0.0, self.ends_s - self.now_s()) if self.ends_s < inf else inf

    def within(self, duration_s: float) -> "SearchClock":
        """Return the same clock with an end after ``duration_s`` from now, if that is earlier."""
        return replace(self, ends_s=min(self.ends_s, self.now_s() + duration_s))

    def is_over(self) -> bool:
        """Return whether the time is over."""
        return self.now_s() >= self.ends_s

    def check(self) -> None:
        """Do nothing before the end.

        Raises:
            OutOfTime: if the time is over.
        """
        if self.is_over():
            raise OutOfTime


def _standing_s() -> float:
    return 0.0


# The clock of searches that only their work ends.
ENDLESS = SearchClock(_standing_s)
