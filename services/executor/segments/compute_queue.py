"""The order in which a device computes: a pure queue with the disciplines that a policy may ask for."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.policy import QueueDiscipline

Item = TypeVar("Item")


def discipline_called(text: str) -> QueueDiscipline:
    """Return the discipline called `text`; first in, first out for a name of a newer version."""
    try:
        return QueueDiscipline(text)
    except ValueError:
        return QueueDiscipline.FIFO


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the disciplines look at."""

    stream: str
    expected_ms: float = 0.0
    deadline_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Item]):
    arrival: int
    ticket: Ticket
    item: Item


class ComputeQueue(Generic[Item]):
    """Jobs that wait for the processor; ties go to the one that came first.

    The discipline may change at any time: it decides at `pop`, in time linear in the number of waiting jobs, which the
    caller bounds.
    """

    def __init__(self) -> None:
        """Make an empty queue, first in, first out."""
        self.discipline = QueueDiscipline.FIFO
        self._arrivals = itertools.count()
        self._turns = itertools.count(1)
        self._entries: list[_Entry[Item]] = []
        self._last_turn: dict[str, int] = {}

    def __len__(self) -> int:
        """Return how many jobs wait."""
        return len(self._entries)

    def push(self, item: Item, ticket: Ticket) -> None:
        """Let `item` wait."""
        self._entries.append(_Entry(next(self._arrivals), ticket, item))

    def pop(self) -> Item:
        """Take the next job.

        Raises:
            IndexError: none waits.
        """
        if not self._entries:
            raise IndexError("no job waits")
        entry = min(self._entries, key=self._key())
        self._entries.remove(entry)
        stream = entry.ticket.stream
        self._last_turn[stream] = next(self._turns)
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
                return lambda entry: (_or_never(entry.ticket.deadline_at_s), entry.arrival)
            case QueueDiscipline.FIFO:
                return lambda entry: (0.0, entry.arrival)


def _or_never(deadline_at_s: float | None) -> float:
    return float("inf") if deadline_at_s is None else deadline_at_s
