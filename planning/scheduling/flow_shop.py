"""Permutation flow shops: Johnson's rule for two machines, and the makespans of many alternative bursts at once."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import inf

import numpy as np

from planning.search.arrays import Array

# Time of a job on the first and on the second machine, in ms.
JobTimes = tuple[float, float]


def johnson_key(job: JobTimes) -> tuple[int, float]:
    """Return the key by which Johnson's rule sorts: first f < g by ascending f, then the rest by descending g."""
    first, second = job
    return (0, first) if first < second else (1, -second)


def johnson_order(jobs: Sequence[JobTimes]) -> list[int]:
    """Return the order with the least makespan; O(n log n), exact (Johnson 1954; Duan & Wu, algorithm 1)."""
    keys = {job: johnson_key(job) for job in jobs}
    return sorted(range(len(jobs)), key=[keys[job] for job in jobs].__getitem__)


def makespan_ms(jobs: Sequence[JobTimes]) -> float:
    """Return when the last job leaves the second machine, in the order given."""
    first_ms = second_ms = 0.0
    for first, second in jobs:
        first_ms += first
        second_ms = max(first_ms, second_ms) + second
    return second_ms


def groups_makespan_ms(groups: Iterable[tuple[JobTimes, int]]) -> float:
    """Return when the last of all jobs leaves the second machine; each group is so many identical jobs in a row.

    What the second machine waits for is the group before, or the first or the last job of the group.
    """
    first_ms = second_ms = 0.0
    for (first, second), count in groups:
        waits = max(second_ms + count * second, first_ms + first + count * second)
        first_ms += count * first
        second_ms = max(waits, first_ms + second)
    return second_ms


def makespans_ms(machines: Array, choices: Sequence[Sequence[int]]) -> Array:
    """Return the makespan of every sequence of cuts, [N].

    Args:
        machines: [M, cuts] time of every cut on every machine; a job passes the machines in order.
        choices: N sequences of cuts, all of the same length, in starting order.
    """
    times = machines[:, np.array(choices)]
    clock = np.zeros((len(machines) + 1, times.shape[1]))
    for job in range(times.shape[2]):
        for machine in range(len(machines)):
            clock[machine + 1] = np.maximum(clock[machine + 1], clock[machine]) + times[machine, :, job]
    return np.asarray(clock[-1])


def in_order(machines: Array, cuts: Sequence[int]) -> list[int]:
    """Return the cuts in Johnson's order of the first two machines."""
    times = {cut: (float(machines[0, cut]), float(machines[1, cut])) for cut in set(cuts)}
    order = johnson_order([times[cut] for cut in cuts])
    return [cuts[index] for index in order]


def improve_cuts(machines: Array, cuts: Sequence[int], moves: int) -> list[int]:
    """Give single jobs another cut as long as the makespan falls and ``moves`` jobs have not been put through.

    Jobs start in Johnson's order of the first two machines.
    """
    best, best_ms = in_order(machines, cuts), inf
    while True:
        moves -= len(set(best)) * (machines.shape[1] - 1) * len(best)
        if moves < 0:
            break
        if best_ms == inf:
            best_ms = float(makespans_ms(machines, [best])[0])
        options = []
        for old in Counter(best):
            for new in range(machines.shape[1]):
                if new != old:
                    changed = list(best)
                    changed[changed.index(old)] = new
                    options.append(in_order(machines, changed))
        if not options:
            break
        times_ms = makespans_ms(machines, options)
        least = int(times_ms.argmin())
        if times_ms[least] >= best_ms * (1 - 1e-9):
            break
        best, best_ms = options[least], float(times_ms[least])
    return best
