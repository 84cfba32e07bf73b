"""Local search in which one or two tasks change their cuts."""

import random
from collections.abc import Sequence
from itertools import combinations, product

import numpy as np

from planning.scheduling.pairwise_exchange import improve_by_exchange
from planning.search.arrays import Array, Index

CUTS = (3, 4, 2, 5)


def _table(rng: random.Random) -> dict[tuple[int, ...], float]:
    return {choice: rng.uniform(0, 9) for choice in product(*map(range, CUTS))}


def _descend(
    table: dict[tuple[int, ...], float], allowed: set[tuple[int, ...]], start: Sequence[int], evaluations: int
) -> tuple[list[int], float]:
    def score(choices: Index) -> Array:
        return np.array([table[tuple(choice)] for choice in choices.tolist()])

    return improve_by_exchange(
        CUTS, start, score, lambda choice: tuple(choice) in allowed, evaluations, seed=1, chunk=7
    )


def _near(choice: Sequence[int]) -> set[tuple[int, ...]]:
    """Return every choice that differs in at most two places."""
    found = set()
    for one, two in combinations(range(len(CUTS)), 2):
        for cuts in product(range(CUTS[one]), range(CUTS[two])):
            changed = list(choice)
            changed[one], changed[two] = cuts
            found.add(tuple(changed))
    return found


def test_ends_where_no_pair_helps() -> None:
    rng = random.Random(1)
    for _ in range(50):
        table = _table(rng)
        end, value = _descend(table, set(table), (0, 0, 0, 0), 100_000)
        assert value == table[tuple(end)] == min(table[near] for near in _near(end))


def test_what_is_not_allowed_is_passed_over() -> None:
    rng = random.Random(2)
    for _ in range(50):
        table = _table(rng)
        allowed = {choice for choice in table if rng.random() < 0.5}
        end, value = _descend(table, allowed, (0, 0, 0, 0), 100_000)
        assert tuple(end) in allowed
        assert value == min(table[near] for near in _near(end) & allowed)


def test_no_more_is_scored_than_there_are_evaluations() -> None:
    scored = 0

    def score(choices: Index) -> Array:
        nonlocal scored
        scored += len(choices)
        return np.asarray(choices.sum(axis=1, dtype=float))

    start = [cuts - 1 for cuts in CUTS]
    end, value = improve_by_exchange(CUTS, start, score, lambda choice: True, 25, seed=0)
    assert scored <= 1 + 25
    assert 0 < value < sum(start)
    assert sum(end) == value
