"""Two-machine flow shops: Johnson's order, makespans, and jobs that must follow each other."""

from collections.abc import Sequence

Job = tuple[float, float]
"""Time on the first and on the second machine, in ms."""


def johnson_key(job: Job) -> tuple[int, float]:
    """Return the key by which Johnson's rule sorts: first f < g by ascending f, then the rest by descending g."""
    first, second = job
    return (0, first) if first < second else (1, -second)


def johnson_order(jobs: Sequence[Job]) -> list[int]:
    """Return the order with the least makespan; O(n log n), exact (Johnson 1954; Duan & Wu, algorithm 1)."""
    return sorted(range(len(jobs)), key=lambda index: johnson_key(jobs[index]))


def makespan_ms(jobs: Sequence[Job]) -> float:
    """Return when the last job leaves the second machine, in the order given."""
    first_ms = second_ms = 0.0
    for first, second in jobs:
        first_ms += first
        second_ms = max(first_ms, second_ms) + second
    return second_ms
