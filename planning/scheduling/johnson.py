"""Two-machine flow shops: Johnson's order, makespans, and jobs that must follow each other."""

from collections.abc import Iterable, Sequence

Job = tuple[float, float]
"""Time on the first and on the second machine, in ms."""


def johnson_key(job: Job) -> tuple[int, float]:
    """Return the key by which Johnson's rule sorts: first f < g by ascending f, then the rest by descending g."""
    first, second = job
    return (0, first) if first < second else (1, -second)


def johnson_order(jobs: Sequence[Job]) -> list[int]:
    """Return the order with the least makespan; O(n log n), exact (Johnson 1954; Duan & Wu, algorithm 1)."""
    keys = {job: johnson_key(job) for job in jobs}
    return sorted(range(len(jobs)), key=[keys[job] for job in jobs].__getitem__)


def makespan_ms(jobs: Sequence[Job]) -> float:
    """Return when the last job leaves the second machine, in the order given."""
    first_ms = second_ms = 0.0
    for first, second in jobs:
        first_ms += first
        second_ms = max(first_ms, second_ms) + second
    return second_ms


def groups_makespan_ms(groups: Iterable[tuple[Job, int]]) -> float:
    """Return when the last of all jobs leaves the second machine; each group is so many identical jobs in a row.

    What the second machine waits for is the group before, or the first or the last job of the group.
    """
    first_ms = second_ms = 0.0
    for (first, second), count in groups:
        waits = max(second_ms + count * second, first_ms + first + count * second)
        first_ms += count * first
        second_ms = max(waits, first_ms + second)
    return second_ms
