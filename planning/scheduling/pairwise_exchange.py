"""Local search over the cuts of all tasks: changes of one task, then of any two tasks together."""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from math import inf
from random import Random

import numpy as np

from planning.scheduling.shared_server import EVALUATIONS_PER_CHECK, Score
from planning.search.arrays import Index

# Pairs of changes that are scored together; the best of them is taken.
CHUNK = 2_000

# A value has to be lower by this share to count as better.
_MIN_GAIN = 1e-12


def improve_by_exchange(
    cuts: Sequence[int],
    start: Sequence[int],
    score: Score,
    allowed: Callable[[Sequence[int]], bool],
    evaluations: int,
    seed: int,
    chunk: int = CHUNK,
) -> tuple[list[int], float]:
    """Return the choice that changes of one or two tasks reach from ``start``, and its value.

    The best change of one task is taken as long as one helps, then pairs in an order drawn from ``seed``. The search
    ends where no pair helps, which takes O(N^2 S^2) evaluations to find out for N tasks with S cuts. The value is inf
    if ``start`` is not allowed and nothing else was found.

    Args:
        cuts: [N] number of cuts of every task.
        start: [N] a cut per task.
        score: the value that is minimised; never negative.
        allowed: whether a choice may be taken; asked only of those that would be.
        evaluations: choices that may be scored; one that turns out not to be allowed counts as `EVALUATIONS_PER_CHECK`.
        seed: of the order of pairs.
        chunk: pairs of changes that are scored together.
    """
    choice: Index = np.array(start)
    value = float(score(choice[None, :])[0]) if allowed(start) else inf
    random = Random(seed)
    improved = True
    while improved:
        improved = False
        for changed in _changes(cuts, choice, random, chunk):
            changed = changed[: max(0, evaluations)]
            evaluations -= len(changed)
            if not len(changed):
                break
            values = score(changed)
            better = np.flatnonzero(values < value * (1 - _MIN_GAIN))
            ranked = better[np.argsort(values[better], kind="stable")]
            # Whether a choice is allowed takes as long as many evaluations, so that only the best few are asked about.
            for place in ranked.tolist()[: 1 + max(0, evaluations) // EVALUATIONS_PER_CHECK]:
                if allowed(changed[place].tolist()):
                    choice, value, improved = changed[place], float(values[place]), True
                    break
                evaluations -= EVALUATIONS_PER_CHECK
            if improved:
                break
    return [int(cut) for cut in choice], value


def _changes(cuts: Sequence[int], choice: Index, random: Random, chunk: int) -> Iterator[Index]:
    """Yield the changes of one task, all together, then those of two tasks, about ``chunk`` at a time: [K, N] each."""
    tasks = range(len(cuts))
    others = [np.array([cut for cut in range(cuts[task]) if cut != choice[task]], dtype=np.int64) for task in tasks]
    count = sum(map(len, others))
    if count:
        # Row by row: the first task to each of its other cuts, then the second, and so on.
        single = np.repeat(choice[None, :], count, axis=0)
        single[np.arange(count), np.repeat(tasks, list(map(len, others)))] = np.concatenate(others)
        yield single
    pairs = [pair for pair in combinations(tasks, 2) if len(others[pair[0]]) and len(others[pair[1]])]
    random.shuffle(pairs)
    waiting: list[Index] = []
    for one, two in pairs:
        # Every other cut of the one with every other cut of the other.
        both = np.repeat(choice[None, :], len(others[one]) * len(others[two]), axis=0)
        both[:, one] = np.repeat(others[one], len(others[two]))
        both[:, two] = np.tile(others[two], len(others[one]))
        waiting.append(both)
        if sum(map(len, waiting)) >= chunk:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)
