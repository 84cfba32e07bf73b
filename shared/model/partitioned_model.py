"""A model that is divided into blocks: its graph, its partition and its analysis."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.model.analysis import BlockAnalysis, Cut, ModelAnalysis
from shared.model.cuts import Partition, find_partition
from shared.model.errors import TileError
from shared.model.graph import Graph, Node
from shared.model.liveness import activate
from shared.model.node_cost import flops, total_bytes
from shared.model.tensor import DType
from shared.model.tiles.block_rows import BlockRows, block_rows
from shared.model.tiles.tile_plan import SegmentNodes
from shared.model.weights import Array


@dataclass(frozen=True, eq=False)
class PartitionedModel:
    """A graph with its useful cuts, and the costs of its blocks.

    Attributes:
        metadata: of its file.
        fixed_inputs: values of the file's inputs that became constants, by name.
        max_cut_tensors: largest number of tensors that may cross a cut; None for as many as pay (see `find_partition`).
    """

    graph: Graph
    partition: Partition
    analysis: ModelAnalysis
    metadata: Mapping[str, str] = field(default_factory=dict)
    fixed_inputs: Mapping[str, Array] = field(default_factory=dict)
    max_cut_tensors: int | None = None

    @property
    def computed_types(self) -> frozenset[DType]:
        """Element types of the tensors that the model computes from its inputs."""
        written = (name for node in self.partition.active.nodes for name in node.written)
        return frozenset(self.graph.tensors[name].dtype for name in written if name in self.graph.tensors)

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes of the model's file, in hexadecimal."""
        return self.analysis.sha256


def build_model(graph: Graph, *, sha256: str, max_cut_tensors: int | None = None) -> PartitionedModel:
    """Divide a graph into blocks and compute their costs.

    Args:
        graph: of the whole model.
        sha256: digest of the model's file, in hexadecimal.
        max_cut_tensors: largest number of tensors that may cross a cut; None for as many as pay (see `find_partition`).

    Raises:
        ShapeError: The shape of a tensor is unknown.
        CutError: `max_cut_tensors` is less than 1.
    """
    partition = find_partition(activate(graph), max_cut_tensors)
    return PartitionedModel(graph, partition, _analyse(partition, sha256), max_cut_tensors=max_cut_tensors)


def _analyse(partition: Partition, sha256: str) -> ModelAnalysis:
    graph = partition.active.graph
    names = _unique([_block_name(graph, _nodes(partition, index)) for index in range(partition.block_count)])
    cuts = []
    for index in range(1, partition.block_count):
        tensors = graph.describe(partition.boundary(index))
        cuts.append(Cut(index, tensors, total_bytes(tensors)))
    return ModelAnalysis(
        sha256=sha256,
        input=graph.describe(graph.inputs),
        blocks=tuple(_block(partition, index, name) for index, name in enumerate(names)),
        cuts=tuple(cuts),
        outputs=graph.describe(graph.outputs),
        dynamic_outputs=tuple(name for name in graph.outputs if name in graph.dynamic),
    )


def _nodes(partition: Partition, index: int) -> tuple[Node, ...]:
    return partition.active.nodes[partition.positions[index] : partition.positions[index + 1]]


def _block(partition: Partition, index: int, name: str) -> BlockAnalysis:
    active, graph = partition.active, partition.active.graph
    nodes = _nodes(partition, index)
    # A weight that several nodes of the block read is loaded once.
    constants = (name for node in nodes for name in node.reads if active.is_constant(name))
    parameters = dict.fromkeys(name for name in constants if name not in graph.dynamic)
    rows, fault = _rows(partition, index)
    return BlockAnalysis(
        name=name,
        output_bytes=total_bytes(graph.describe(partition.boundary(index + 1))),
        flops=sum(flops(graph, node) for node in nodes),
        parameter_bytes=total_bytes(graph.describe(tuple(parameters))),
        peak_activation_bytes=_peak_activation_bytes(partition, index),
        operators=tuple(node.op_type for node in nodes),
        domains=tuple(sorted({node.domain for node in nodes} - {""})),
        rows=rows,
        untileable=fault,
    )


def _rows(partition: Partition, index: int) -> tuple[BlockRows | None, str]:
    """Return the rows of a block; none, and the reason, if it cannot be tiled."""
    ends = partition.boundary(index), partition.boundary(index + 1)
    try:
        return block_rows(SegmentNodes(partition.active, _nodes(partition, index), *ends)), ""
    except TileError as error:
        return None, str(error)


def _peak_activation_bytes(partition: Partition, index: int) -> int:
    """Return the largest total size of a node's live inputs and outputs, over the nodes of a block.

    Dynamic tensors count 0.
    """
    graph = partition.active.graph
    peak = 0
    for position in range(partition.positions[index], partition.positions[index + 1]):
        written = partition.active.nodes[position].written
        # The inputs of a node are live until it has written its outputs.
        sized = (name for name in partition.live[position] if name not in graph.dynamic)
        alive = dict.fromkeys((*sized, *(name for name in written if name in graph.tensors)))
        peak = max(peak, total_bytes(graph.describe(tuple(alive))))
    return peak


def _block_name(graph: Graph, nodes: tuple[Node, ...]) -> str:
    """Name a block after the first of its nodes with the most floating-point operations."""
    costliest = max(nodes, key=lambda node: flops(graph, node))
    return costliest.name or costliest.written[0]


def _unique(names: list[str]) -> list[str]:
    """Append `_2`, `_3`, ... to repeated names."""
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return result
