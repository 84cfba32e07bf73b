"""Labels of the best-first searches: partial routes, their holdings, and their dominance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planning.search.chain_path import Path
from planning.search.limits import Limits

# Number of vectors that a frontier holds before it grows.
_FIRST_ROOM = 16


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """The result of a search.

    Attributes:
        path: the best path within the limits; None if none was found.
        proved: whether the search has ended: ``path`` is then optimal, or does not exist.
        bound: a cost that no path within the limits is below.
    """

    path: Path | None
    proved: bool
    bound: float


@dataclass(frozen=True, slots=True)
class Holdings:
    """The constrained resources that a partial route takes. Without a constraint its part stays empty.

    Attributes:
        used: bit d is set if node d computes.
        parameter_bytes: [D] parameters on every node.
        working_bytes: [D] largest activation on every node; segments of one stream run one after the other.
    """

    used: int = 0
    parameter_bytes: tuple[float, ...] = ()
    working_bytes: tuple[float, ...] = ()

    def with_block(self, limits: Limits, node: int, block: int) -> "Holdings | None":
        """Return the holdings with ``block`` on ``node``, or None if that breaks ``limits``."""
        if limits.max_devices is None and limits.memory_bytes is None:
            return self
        used, parameters, working = self.used, self.parameter_bytes, self.working_bytes
        if limits.max_devices is not None:
            used |= 1 << node
            if used.bit_count() > limits.max_devices:
                return None
        if limits.memory_bytes is not None:
            nodes = len(limits.memory_bytes)
            parameters, working = parameters or (0.0,) * nodes, working or (0.0,) * nodes
            held = parameters[node] + limits.parameter_bytes[block]
            largest = max(working[node], limits.working_bytes[block])
            if held + largest > limits.memory_bytes[node]:
                return None
            parameters = (*parameters[:node], held, *parameters[node + 1 :])
            working = (*working[:node], largest, *working[node + 1 :])
        return Holdings(used, parameters, working)


@dataclass(frozen=True, slots=True, eq=False)
class Label:
    """A partial route: blocks [0, done) are placed, the last of them on ``node``.

    A label with one more than all blocks done is a whole route, whose result has reached the sink.

    Attributes:
        done: number of blocks placed.
        node: where the last block runs.
        cost: the cost so far, in the unit of the search.
        latency_ms: latency so far.
        holdings: the constrained resources that the route takes.
        parent: the route without its last block; None for the first block.
        codec: index of the encoding in which the input of the last block, or the result, has travelled.
    """

    done: int
    node: int
    cost: float
    latency_ms: float
    holdings: Holdings
    parent: "Label | None"
    codec: int


def traced_path(label: Label) -> Path:
    """Return the path of a label whose result has reached the sink."""
    codecs, devices = [label.codec], list[int]()
    step = label.parent
    while step is not None:
        devices.append(step.node)
        codecs.append(step.codec)
        step = step.parent
    # ``codecs`` is backwards: that of the result first, that of the raw input last. A path has no entry for the input.
    return Path(label.cost, devices[::-1], codecs[-2::-1])


class Frontier:
    """A Pareto frontier of resource vectors, of which smaller ones are better.

    Each vector beats every earlier one in some component, or lacks a device of it.

    Invariant: vectors are only added. A later vector that beats an earlier one leaves it in place. This costs a
    comparison but gives no wrong answer, because the later one beats all that the earlier one beats.
    """

    def __init__(self, width: int) -> None:
        """Start empty; every vector has ``width`` numbers."""
        self._values = np.empty((_FIRST_ROOM, width))
        self._used = np.zeros(_FIRST_ROOM, dtype=object)
        self._count = 0

    def admit(self, values: Sequence[float], used: int) -> bool:
        """Add a vector unless an earlier one is at least as good, and return whether it was added.

        Args:
            values: [width] resources.
            used: the set (bits) of devices in use. A rival is as good only if its set is a subset.
        """
        vector = np.asarray(values)
        as_good = (self._values[: self._count] <= vector).all(axis=1)
        # A rival that uses a device more may reach the bound on devices where this label does not.
        if any(rival & ~used == 0 for rival in self._used[: self._count][as_good]):
            return False
        if self._count == len(self._values):
            self._values = np.concatenate([self._values, np.empty_like(self._values)])
            self._used = np.concatenate([self._used, np.zeros_like(self._used)])
        self._values[self._count] = vector
        self._used[self._count] = used
        self._count += 1
        return True
