"""Extracts segments, contiguous ranges of blocks, as graphs."""

from itertools import pairwise

from shared.model.errors import CutError
from shared.model.graph import Graph
from shared.model.liveness import constant_nodes
from shared.model.partitioned_model import PartitionedModel


def segment_graph(model: PartitionedModel, start: int, stop: int) -> Graph:
    """Extract blocks [start, stop).

    Inputs are the tensors that cross before block `start`, outputs those that cross before block `stop`, both in the
    order of `Partition.boundary`. A tensor that only passes through is both. Constant subgraphs that the segment reads
    are repeated in it, and weights that it does not read are left out.

    Raises:
        CutError: The model has no such range of blocks.
    """
    count = model.partition.block_count
    if not 0 <= start < stop <= count:
        raise CutError(f"blocks [{start}, {stop}) do not exist: the model has blocks [0, {count})")
    partition = model.partition
    nodes = partition.active.nodes[partition.positions[start] : partition.positions[stop]]
    outputs = partition.boundary(stop)
    # An output may be a constant, or pass through from the inputs, without any node of the segment that writes it.
    read = (*outputs, *(name for node in nodes for name in node.reads))
    nodes = (*constant_nodes(partition.active, read), *nodes)
    inputs = partition.boundary(start)
    used = dict.fromkeys((*inputs, *outputs, *(name for node in nodes for name in (*node.reads, *node.written))))
    graph = model.graph
    return Graph(
        name=f"{graph.name}[{start},{stop})",
        nodes=nodes,
        inputs=inputs,
        outputs=outputs,
        tensors={name: graph.tensors[name] for name in used if name in graph.tensors},
        weights={name: graph.weights[name] for name in used if name in graph.weights},
        opsets=graph.opsets,
        dynamic=graph.dynamic & used.keys(),
    )


def segment_bounds(model: PartitionedModel, cuts: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Return the segments between cuts: (3, 7) becomes [0, 3), [3, 7), [7, B) for a model of B blocks.

    Raises:
        CutError: The cuts are not ascending, or the model does not have one of them.
    """
    count = model.partition.block_count
    for cut in cuts:
        if not 1 <= cut < count:
            have = f"it has cuts 1 to {count - 1}" if count > 1 else "it has none"
            raise CutError(f"cut {cut} does not exist: {have}; 'segue model inspect' lists them")
    if any(a >= b for a, b in pairwise(cuts)):
        raise CutError(f"cuts have to ascend, but they are {', '.join(map(str, cuts))}")
    ends = (0, *cuts, count)
    return tuple(pairwise(ends))
