"""Queue of the jobs that wait for the processor, with the disciplines of a policy."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.policy import QueueDiscipline

Item = TypeVar("Item")


def discipline_called(text: str) -> QueueDiscipline:
    """Return the discipline of this name; FIFO for a name that a newer version may have added."""
    try:
        return QueueDiscipline(text)
    except ValueError:
        return QueueDiscipline.FIFO


@dataclass(frozen=True, slots=True)
class Ticket:
    """Properties of a job that the disciplines compare.

    Attributes:
        stream: stream of the request, for ROUND_ROBIN.
        expected_ms: expected computing time, for SHORTEST_JOB_FIRST.
        deadline_s: monotonic seconds, for EARLIEST_DEADLINE_FIRST; a job without a deadline comes last.
    """

    stream: str
    expected_ms: float = 0.0
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Item]):
    arrival: int
    ticket: Ticket
    item: Item


class ComputeQueue(Generic[Item]):
    """Jobs that wait for the processor; ties go to the job that came first.

    The discipline may change at any time, because it decides at `pop`. That takes time linear in the number of waiting
    jobs, which the admission of feature maps bounds. Not thread-safe: `Processor` guards it with a lock.

    Attributes:
        discipline: order of the jobs.
    """

    def __init__(self) -> None:
        """Create an empty FIFO queue."""
        self.discipline = QueueDiscipline.FIFO
        self._arrivals = itertools.count()
        self._turns = itertools.count(1)
        self._entries: list[_Entry[Item]] = []
        self._last_turn: dict[str, int] = {}

    def __len__(self) -> int:
        """Return the number of waiting jobs."""
        return len(self._entries)

    def push(self, item: Item, ticket: Ticket) -> None:
        """Append a job."""
        self._entries.append(_Entry(next(self._arrivals), ticket, item))

    def pop(self) -> Item:
        """Remove and return the next job.

        Raises:
            IndexError: the queue is empty.
        """
        if not self._entries:
            raise IndexError("no job waits")
        entry = min(self._entries, key=self._key())
        self._entries.remove(entry)
        stream = entry.ticket.stream
        # The stream whose last turn is longest ago comes next. A stream without a turn counts as 0, before all others.
        self._last_turn[stream] = next(self._turns)
        # Turns of streams without waiting jobs are dropped now and then, so that the dictionary stays bounded.
        waiting = {other.ticket.stream for other in self._entries}
        if len(self._last_turn) > 2 * len(waiting) + 64:
            self._last_turn = {
                name: turn for name, turn in self._last_turn.items() if name in waiting or name == stream
            }
        return entry.item

    def _key(self) -> Callable[[_Entry[Item]], tuple[float, int]]:
        match self.discipline:
            case QueueDiscipline.SHORTEST_JOB_FIRST:
                return lambda entry: (entry.ticket.expected_ms, entry.arrival)
            case QueueDiscipline.ROUND_ROBIN:
                return lambda entry: (self._last_turn.get(entry.ticket.stream, 0), entry.arrival)
            case QueueDiscipline.EARLIEST_DEADLINE_FIRST:
                return lambda entry: (_or_never(entry.ticket.deadline_s), entry.arrival)
            case QueueDiscipline.FIFO:
                return lambda entry: (0.0, entry.arrival)


def _or_never(deadline_s: float | None) -> float:
    return float("inf") if deadline_s is None else deadline_s
