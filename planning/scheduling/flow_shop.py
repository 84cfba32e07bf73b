"""Permutation flow shops: Johnson's rule for two machines, and the makespans of many alternative bursts in arrays."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import inf

import numpy as np

from planning.search.arrays import Array

# Time of a job on the first and on the second machine, in ms.
JobTimes = tuple[float, float]

# A makespan has to be smaller by this share to count as better.
_MIN_GAIN = 1e-9


def johnson_key(job: JobTimes) -> tuple[int, float]:
    """Return the sort key of Johnson's rule: first jobs with f < g by ascending f, then the rest by descending g."""
    first, second = job
    return (0, first) if first < second else (1, -second)


def johnson_order(jobs: Sequence[JobTimes]) -> list[int]:
    """Return the order with the least makespan on two machines, by index; O(n log n), exact.

    Johnson, Naval Research Logistics Quarterly 1(1), 1954; Duan & Wu, algorithm 1.
    """
    keys = {job: johnson_key(job) for job in set(jobs)}
    return sorted(range(len(jobs)), key=[keys[job] for job in jobs].__getitem__)


def in_johnson_order(taken: Sequence[int], times: Mapping[int, JobTimes]) -> list[int]:
    """Return ``taken`` in Johnson's order, where many jobs have equal times.

    Args:
        taken: the kind of every job.
        times: the times of every kind.
    """
    keys = {kind: johnson_key(times[kind]) for kind in times}
    ranks = {key: rank for rank, key in enumerate(sorted(set(keys.values())))}
    kinds = np.array(taken, dtype=np.int64)
    rank_of_kind = np.zeros(max(times, default=-1) + 1, dtype=np.int64)
    for kind, key in keys.items():
        rank_of_kind[kind] = ranks[key]
    ordered: list[int] = kinds[np.argsort(rank_of_kind[kinds], kind="stable")].tolist()
    return ordered


def makespan_ms(jobs: Sequence[JobTimes]) -> float:
    """Return when the last job leaves the second machine, in ms; the jobs pass in the order given."""
    first_ms = second_ms = 0.0
    for first, second in jobs:
        first_ms += first
        second_ms = max(first_ms, second_ms) + second
    return second_ms


def groups_makespan_ms(groups: Iterable[tuple[JobTimes, int]]) -> float:
    """Return when the last of all jobs leaves the second machine, in ms; O(1) per group.

    Consider the longest path to the end of a group of n jobs (f, g). It changes to the second machine at the first or
    the last job of the group. A change after the j-th job gives j f + (n - j + 1) g, which is linear in j. Otherwise
    the path is on the second machine throughout the group.

    Args:
        groups: identical jobs in a row, as their times and their number.
    """
    first_ms = second_ms = 0.0
    for (first, second), count in groups:
        # The path is on the second machine already, or changes to it after the first job of the group.
        changes_early = max(second_ms + count * second, first_ms + first + count * second)
        first_ms += count * first
        # Or it changes after the last job of the group. Between the two the length is linear, so no other change is
        # longer.
        second_ms = max(changes_early, first_ms + second)
    return second_ms


def makespans_ms(machines: Array, choices: Sequence[Sequence[int]]) -> Array:
    """Return the makespan of every sequence of cuts, [N], in ms.

    A job starts on a machine once it has left the machine before and the job before it has left this one.

    Args:
        machines: [M, cuts] time in ms of every cut on every machine; a job passes the machines in order.
        choices: N sequences of cuts, all of the same length, in starting order.
    """
    # [M, N, jobs]; clock[m + 1] is when machine m has done the jobs so far, and clock[0] stays 0.
    times = machines[:, np.array(choices)]
    clock = np.zeros((len(machines) + 1, times.shape[1]))
    for job in range(times.shape[2]):
        for machine in range(len(machines)):
            clock[machine + 1] = np.maximum(clock[machine + 1], clock[machine]) + times[machine, :, job]
    return np.asarray(clock[-1])


def in_order(machines: Array, cuts: Sequence[int]) -> list[int]:
    """Return the cuts in Johnson's order of the first two machines."""
    times = {cut: (float(machines[0, cut]), float(machines[1, cut])) for cut in set(cuts)}
    return in_johnson_order(cuts, times)


def improve_cuts(machines: Array, cuts: Sequence[int], moves: int) -> list[int]:
    """Give single jobs another cut as long as the makespan falls; return a cut per job, in starting order.

    Jobs start in Johnson's order of the first two machines. Every round takes the best change of one job.

    Args:
        machines: [M, cuts] time in ms of every cut on every machine.
        cuts: a cut per job, to begin with.
        moves: bound of the work, in jobs that pass the machines.
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
                    # Jobs with one cut are alike, so one of them stands for all.
                    changed[changed.index(old)] = new
                    options.append(in_order(machines, changed))
        if not options:
            break
        times_ms = makespans_ms(machines, options)
        least = int(times_ms.argmin())
        if times_ms[least] >= best_ms * (1 - _MIN_GAIN):
            break
        best, best_ms = options[least], float(times_ms[least])
    return best
