"""Local search over the cuts of all tasks: any task to any cut, any two tasks to any two cuts."""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from math import inf
from random import Random

import numpy as np

from planning.scheduling.shared_server import ASKED, Score
from planning.search.arrays import Index

CHUNK = 2_000
"""How many pairs of changes are looked at together; the best of them is taken."""


def improve_by_exchange(
    cuts: Sequence[int],
    start: Sequence[int],
    score: Score,
    allowed: Callable[[Sequence[int]], bool],
    evaluations: int,
    seed: int,
    chunk: int = CHUNK,
) -> tuple[list[int], float]:
    """Return where changes of one or two tasks lead from ``start``, and its value: inf if it is not allowed.

    The best change of one task is taken as long as one helps; then pairs in an order drawn from ``seed``. Ends where no
    pair helps, or where the evaluations do: O(N^2 S^2) of them to know that none does.

    Args:
        cuts: how many each task has.
        start: a cut per task.
        score: what is made small; never negative.
        allowed: whether a choice may be taken; asked only of those that would be.
        evaluations: how many choices may be scored; one that turns out not to be allowed counts as `ASKED`.
        seed: of the order of pairs.
        chunk: how many pairs of changes are scored together.
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
            better = np.flatnonzero(values < value * (1 - 1e-12))
            ranked = better[np.argsort(values[better], kind="stable")]
            for place in ranked.tolist()[: 1 + max(0, evaluations) // ASKED]:
                if allowed(changed[place].tolist()):
                    choice, value, improved = changed[place], float(values[place]), True
                    break
                evaluations -= ASKED
            if improved:
                break
    return [int(cut) for cut in choice], value


def _changes(cuts: Sequence[int], choice: Index, random: Random, chunk: int) -> Iterator[Index]:
    """Yield the changes of one task, all together, then those of two tasks, about ``chunk`` at a time."""
    tasks = range(len(cuts))
    others = [np.array([cut for cut in range(cuts[task]) if cut != choice[task]], dtype=np.int64) for task in tasks]
    count = sum(map(len, others))
    if count:
        single = np.repeat(choice[None, :], count, axis=0)
        single[np.arange(count), np.repeat(tasks, list(map(len, others)))] = np.concatenate(others)
        yield single
    pairs = [pair for pair in combinations(tasks, 2) if len(others[pair[0]]) and len(others[pair[1]])]
    random.shuffle(pairs)
    waiting: list[Index] = []
    for one, two in pairs:
        both = np.repeat(choice[None, :], len(others[one]) * len(others[two]), axis=0)
        both[:, one] = np.repeat(others[one], len(others[two]))
        both[:, two] = np.tile(others[two], len(others[one]))
        waiting.append(both)
        if sum(map(len, waiting)) >= chunk:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)
