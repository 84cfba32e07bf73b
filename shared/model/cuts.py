"""Where a graph can be cut, and which cuts are useful."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from shared.model.errors import CutError, UnsupportedModelError
from shared.model.liveness import ActiveGraph, live_sets
from shared.model.operators import LIGHT


@dataclass(frozen=True, eq=False)
class Partition:
    """The useful cuts of a graph.

    Block i is `active.nodes[positions[i]:positions[i + 1]]`; cut i lies at `positions[i]`, where
    `live[positions[i]]` has to cross. The first and the last position are the two ends of the graph.
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

        At the ends they are the model's inputs and outputs, in their declared order. Between the ends they come in the
        order in which the model makes them: its inputs first, in their declared order, then as the nodes write them.
        """
        if index == 0:
            return self.active.graph.inputs
        if index == self.block_count:
            return self.active.graph.outputs
        return self.live[self.positions[index]]

    def size_bytes(self, position: int) -> int:
        """Return the raw size of what crosses before node `position`, in bytes."""
        return sum(self.active.graph.tensor(name).size_bytes for name in self.live[position])


def all_cuts(live: Sequence[tuple[str, ...]], max_tensors: int) -> tuple[int, ...]:
    """Find the positions inside the graph where at most `max_tensors` tensors cross."""
    return tuple(position for position in range(1, len(live) - 1) if 0 < len(live[position]) <= max_tensors)


def find_partition(active: ActiveGraph, max_tensors: int = 1) -> Partition:
    """Cut the graph wherever at most `max_tensors` tensors cross and the cut is useful.

    A cut is not useful next to a light operator (activation, normalisation, reshape, padding, ...) if
    the other side of that operator is no more expensive to send: so no cut lies inside convolution, batch
    normalisation, activation, where it would also cost the runtime its fused kernels.

    Raises:
        CutError: `max_tensors` is less than 1.
        UnsupportedModelError: Nothing in the graph leads from an input to an output.
        ShapeError: The size of a tensor is not known.
    """
    if max_tensors < 1:
        raise CutError(f"a cut needs at least 1 tensor, not {max_tensors}")
    if not active.nodes:
        raise UnsupportedModelError("no operator leads from an input of the model to an output")
    live = tuple(live_sets(active))
    ends = (0, *all_cuts(live, max_tensors), len(active.nodes))
    whole = Partition(active, live, ends)
    return Partition(active, live, _merge_light(whole))


def _merge_light(partition: Partition) -> tuple[int, ...]:
    """Merge blocks of light operators into the neighbour on their more expensive side, until none is left to merge."""
    light = [node.op_type in LIGHT for node in partition.active.nodes]
    weight = {p: (partition.size_bytes(p), len(partition.live[p])) for p in partition.positions}
    kept: list[int] = []
    for position in partition.positions:
        while len(kept) >= 2 and all(light[kept[-1] : position]) and weight[position] <= weight[kept[-1]]:
            kept.pop()
        kept.append(position)
    return tuple(_merge_growing(kept, light, weight))


def _merge_growing(kept: list[int], light: list[bool], weight: dict[int, tuple[int, int]]) -> list[int]:
    """Drop each cut behind a light block that has more to send after it than before it."""
    result = kept[:1]
    for start, stop in pairwise(kept):
        last = stop == kept[-1]
        if last or not all(light[start:stop]) or weight[stop] < weight[start]:
            result.append(stop)
    return result
