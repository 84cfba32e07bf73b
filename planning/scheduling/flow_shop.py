"""Makespans of many alternative bursts at once: permutation flow shops in arrays."""

from collections import Counter
from collections.abc import Sequence
from math import inf

import numpy as np

from planning.scheduling.johnson import johnson_order
from planning.search.arrays import Array


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
