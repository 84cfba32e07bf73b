"""Finds the positions at which a graph can be cut, and keeps the useful ones."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Final

from shared.model.errors import CutError, UnsupportedModelError
from shared.model.graph import Graph
from shared.model.liveness import ActiveGraph, live_sets
from shared.model.node_work import node_work
from shared.model.operators import LIGHT

# Number of large tensors that may cross a cut where no number is given.
_LARGE_TENSORS: Final = 3
# A tensor of at most this share of the largest one at its cut adds little to the transfer, and is not counted.
_SMALL_SHARE: Final = 1 / 16
# Every tensor has its own header, so even small ones are not free without end.
_MOST_TENSORS: Final = 32
# A block with more of the model's work than this is cut where several tensors cross, into blocks not smaller than the
# third share. Only beyond the second one are cuts worth it that cost more than both ends of the block.
_COARSE_SHARE: Final = 1 / 4
_DOMINANT_SHARE: Final = 1 / 2
_FINE_SHARE: Final = 1 / 32


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


def large_tensors(graph: Graph, names: Collection[str]) -> int:
    """Return how many of the tensors at a cut count: those that are not small beside the largest one.

    A mask or a state that accompanies a feature map costs little, and must not prevent the cut.
    """
    sizes = [graph.tensor(name).size_bytes for name in names]
    return sum(size > _SMALL_SHARE * max(sizes) for size in sizes) or len(sizes)


def find_partition(active: ActiveGraph, max_tensors: int | None = None) -> Partition:
    """Cut the graph wherever at most `max_tensors` tensors cross and the cut is useful.

    Light operators are activations, normalisations, reshapes and paddings. A cut next to one is useless if the other
    side of the operator is no more expensive to send. So no cut separates a convolution from its batch normalisation
    and activation, where it would also prevent the runtime from fusing their kernels. No cut lies where a tensor
    crosses whose type has no numpy counterpart.

    Args:
        active: The graph.
        max_tensors: Largest number of tensors that may cross. None means one tensor, and up to three where they pay:
            inside blocks that hold more than a quarter of the model's work (`node_work`), where both sides keep a
            thirty-second. A cut inside a residual branch, which costs more than those before and behind the branch,
            pays in a block with half of the work. Tensors that are small beside the largest one at their cut are not
            counted then.

    Raises:
        CutError: `max_tensors` is less than 1.
        UnsupportedModelError: No path leads from an input to an output of the graph.
        ShapeError: The size of a tensor is unknown.
    """
    if max_tensors is not None and max_tensors < 1:
        raise CutError(f"a cut needs at least 1 tensor, not {max_tensors}")
    if not active.nodes:
        raise UnsupportedModelError("no operator leads from an input of the model to an output")
    live = tuple(live_sets(active))
    possible = [p for p in all_cuts(live, max_tensors or _MOST_TENSORS) if all(map(active.graph.can_cross, live[p]))]
    if max_tensors is not None:
        return _useful(active, live, possible)
    found = _useful(active, live, [position for position in possible if len(live[position]) == 1])
    work = (0.0, *accumulate(node_work(active)))
    for tensors in range(2, _LARGE_TENSORS + 1):
        crossed = [position for position in possible if large_tensors(active.graph, live[position]) <= tensors]
        found = _refine(found, _useful(active, live, crossed).positions, work)
    return found


def _useful(active: ActiveGraph, live: tuple[tuple[str, ...], ...], possible: Sequence[int]) -> Partition:
    """Return the partition at those of the positions where a cut is useful."""
    every = Partition(active, live, (0, *possible, len(active.nodes)))
    return replace(every, positions=_merge_light(every))


def _refine(partition: Partition, possible: Sequence[int], work: Sequence[float]) -> Partition:
    """Add cuts inside the blocks with too much of the work.

    Args:
        partition: The present one.
        possible: Ascending positions of further cuts.
        work: Share of the work before each position.
    """
    kept = list(partition.positions)
    for start, stop in pairwise(partition.positions):
        share = work[stop] - work[start]
        if share <= _COARSE_SHARE:
            continue
        inside: Iterable[int] = possible[bisect_right(possible, start) : bisect_left(possible, stop)]
        if share <= _DOMINANT_SHARE and start > 0 and stop < partition.positions[-1]:
            dearest = max(partition.size_bytes(start), partition.size_bytes(stop))
            inside = [position for position in inside if partition.size_bytes(position) <= dearest]
        for position in sorted(inside, key=lambda p: (partition.size_bytes(p), len(partition.live[p]), p)):
            place = bisect_left(kept, position)
            if min(work[position] - work[kept[place - 1]], work[kept[place]] - work[position]) >= _FINE_SHARE:
                kept.insert(place, position)
    return replace(partition, positions=_merge_light(replace(partition, positions=tuple(kept))))


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
