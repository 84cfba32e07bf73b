"""Pareto frontiers of partial routes, compared many at a time."""

from collections.abc import Sequence

import numpy as np

_FIRST_ROOM = 16


class Frontier:
    """Resource vectors of which none is at least as good as another everywhere. Smaller is better."""

    def __init__(self, width: int) -> None:
        """Start empty; every vector has ``width`` numbers."""
        self._values = np.empty((_FIRST_ROOM, width))
        self._used = np.zeros(_FIRST_ROOM, dtype=object)
        self._count = 0

    def admit(self, values: Sequence[float], used: int) -> bool:
        """Add a vector with the set (bits) of devices it uses, unless an earlier one is at least as good."""
        vector = np.asarray(values)
        as_good = (self._values[: self._count] <= vector).all(axis=1)
        if any(rival & ~used == 0 for rival in self._used[: self._count][as_good]):
            return False
        if self._count == len(self._values):
            self._values = np.concatenate([self._values, np.empty_like(self._values)])
            self._used = np.concatenate([self._used, np.zeros_like(self._used)])
        self._values[self._count] = vector
        self._used[self._count] = used
        self._count += 1
        return True
