"""The cheapest path through blocks x devices x encodings, exact for every additive cost without side constraints.

The recurrence (Bellman, Quarterly of Applied Mathematics 16, 1958), with V(i, d) the least cost of the rest once
blocks [0, i) are done, the last of them on d:

    V(B, d) = min over e of finish(e, d)
    V(i, d) = min(run(d, i) + V(i + 1, d),
                  min over e, d' of move(i, e, d, d') + start(d') + run(d', i) + V(i + 1, d'))
"""

from dataclasses import dataclass

import numpy as np

from planning.search.arrays import Array
from planning.search.cost_tables import CostMeasure


@dataclass(frozen=True, slots=True)
class Path:
    """A node for every block and an encoding for every cut after a block.

    Attributes:
        cost: the cost of the whole path, in the unit of its search.
        devices: [B] node of every block, by index.
        codecs: [B] encoding at the cut after every block, by index; 0 where nothing is sent.
    """

    cost: float
    devices: list[int]
    codecs: list[int]


def cost_to_go(measure: CostMeasure) -> Array:
    """Return V of the module's recurrence, [B + 1, D], in the unit of ``measure``; inf where there is no way.

    Row 0 has no meaning. O(B E D^2) time, vectorised over devices and encodings.
    """
    nodes, blocks = measure.run.shape
    togo = np.full((blocks + 1, nodes), np.inf)
    togo[blocks] = measure.finish.min(axis=0)
    # [B + 1, D, D]: the best encoding of a cut depends on sender and receiver only.
    cheapest = measure.move.min(axis=1)
    for done in range(blocks - 1, 0, -1):
        enter = measure.run[:, done] + togo[done + 1]
        moved = (cheapest[done] + (measure.start + enter)).min(axis=1)
        togo[done] = np.minimum(enter, moved)
    return togo


def cheapest_path(measure: CostMeasure, togo: Array | None = None) -> Path | None:
    """Return the cheapest path, or None if there is none. A device may be visited again later.

    Of equal costs staying on the device comes first, then the first encoding, then the first device.
    """
    return follow_path(measure, cost_to_go(measure) if togo is None else togo, measure.first)


def follow_path(measure: CostMeasure, togo: Array, first: Array) -> Path | None:
    """Return the cheapest path from one source by its cost to go; None if there is none.

    Args:
        measure: the additive cost; its source may be another one, because only ``first`` depends on the source.
        togo: [B + 1, D] its cost to go.
        first: [D] cost of the input's way from the source to every node; inf where there is none.
    """
    blocks = measure.run.shape[1]
    begin = first + measure.start + measure.run[:, 0] + togo[1]
    here = int(begin.argmin())
    if not np.isfinite(begin[here]):
        return None
    devices, codecs = [here], [0] * blocks
    for done in range(1, blocks):
        enter = measure.run[:, done] + togo[done + 1]
        stay = enter[here]
        # Otherwise staying attains V, which includes ties: a route has no needless transfers.
        if togo[done, here] < stay:
            moved = measure.move[done, :, here, :] + (measure.start + enter)
            codec, here = divmod(int(moved.argmin()), moved.shape[1])
            codecs[done - 1] = codec
        devices.append(here)
    codecs[blocks - 1] = int(measure.finish[:, here].argmin())
    return Path(float(begin.min()), devices, codecs)
