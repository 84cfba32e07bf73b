"""Finds the positions at which a graph can be cut, and keeps the useful ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from shared.model.errors import CutError, UnsupportedModelError
from shared.model.liveness import ActiveGraph, live_sets
from shared.model.operators import LIGHT


@dataclass(frozen=True, eq=False)
class Partition:
    """The useful cuts of a graph.

    Attributes:
        active: the graph without constant subgraphs and dead ends.
        live: names of the live tensors at each position, `len(active.nodes) + 1` entries.
        positions: ascending; block i is `active.nodes[positions[i]:positions[i + 1]]`, and `live[positions[i]]`
            crosses at cut i. The first and the last position are the ends of the graph.
    """

    active: ActiveGraph
    live: tuple[tuple[str, ...], ...]
    positions: tuple[int, ...]

    @property
    def block_count(self) -> int:
        """Number of blocks."""
        return len(self.positions) - 1

    def boundary(self, index: int) -> tuple[str, ...]:
        """Return the names of the tensors that cross before block `index`.

        At the ends these are the model's inputs and outputs, in their declared order. Elsewhere the inputs come first,
        in their declared order, and the others follow in the order in which nodes write them. Sender and receiver
        depend on this order.
        """
        if index == 0:
            return self.active.graph.inputs
        if index == self.block_count:
            return self.active.graph.outputs
        return self.live[self.positions[index]]

    def size_bytes(self, position: int) -> int:
        """Return the total raw size of the tensors live before node `position`, in bytes."""
        return sum(self.active.graph.tensor(name).size_bytes for name in self.live[position])


def all_cuts(live: Sequence[tuple[str, ...]], max_tensors: int) -> tuple[int, ...]:
    """Return the inner positions at which 1 to `max_tensors` tensors are live.

    Args:
        live: names of the live tensors at each position, as `live_sets` returns them.
        max_tensors: largest number of tensors that may cross.
    """
    return tuple(position for position in range(1, len(live) - 1) if 0 < len(live[position]) <= max_tensors)


def find_partition(active: ActiveGraph, max_tensors: int = 1) -> Partition:
    """Cut the graph wherever at most `max_tensors` tensors cross and the cut is useful.

    Light operators are activations, normalisations, reshapes and paddings. A cut next to one is useless if the other
    side of the operator is no more expensive to send. So no cut separates a convolution from its batch normalisation
    and activation, where it would also prevent the runtime from fusing their kernels. No cut lies where a tensor
    crosses whose type has no numpy counterpart.

    Raises:
        CutError: `max_tensors` is less than 1.
        UnsupportedModelError: No path leads from an input to an output of the graph.
        ShapeError: The size of a tensor is unknown.
    """
    if max_tensors < 1:
        raise CutError(f"a cut needs at least 1 tensor, not {max_tensors}")
    if not active.nodes:
        raise UnsupportedModelError("no operator leads from an input of the model to an output")
    live = tuple(live_sets(active))
    possible = (p for p in all_cuts(live, max_tensors) if all(map(active.graph.can_cross, live[p])))
    ends = (0, *possible, len(active.nodes))
    whole = Partition(active, live, ends)
    return Partition(active, live, _merge_light(whole))


def _merge_light(partition: Partition) -> tuple[int, ...]:
    """Merge blocks of light operators into the neighbour on their more expensive side, until none is left to merge.

    The weight of a position is its size in bytes, then its number of tensors. A stack of kept positions makes one
    pass enough: a new position removes all earlier ones that it dominates across light nodes.
    """
    light = [node.op_type in LIGHT for node in partition.active.nodes]
    weight = {p: (partition.size_bytes(p), len(partition.live[p])) for p in partition.positions}
    kept: list[int] = []
    for position in partition.positions:
        # Across light nodes only, and not dearer than the cut before: that cut is useless, as it saves no computing.
        while len(kept) >= 2 and all(light[kept[-1] : position]) and weight[position] <= weight[kept[-1]]:
            kept.pop()
        kept.append(position)
    return tuple(_merge_growing(kept, light, weight))


def _merge_growing(kept: list[int], light: list[bool], weight: dict[int, tuple[int, int]]) -> list[int]:
    """Drop each cut behind a light block that has no fewer bytes to send than the cut before the block."""
    result = kept[:1]
    for start, stop in pairwise(kept):
        # The end of the graph stays, whatever its weight.
        last = stop == kept[-1]
        if last or not all(light[start:stop]) or weight[stop] < weight[start]:
            result.append(stop)
    return result
