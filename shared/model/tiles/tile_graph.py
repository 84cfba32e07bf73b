"""The graph of a tile: the nodes of its segment, changed so that they compute its rows only."""

from dataclasses import replace
from typing import Final

import numpy as np

from shared.model.graph import Graph, Node
from shared.model.liveness import constant_nodes
from shared.model.tensor import DType, Tensor
from shared.model.tiles.row_relations import RewrittenNode
from shared.model.tiles.tile_plan import HeldRows, SegmentNodes, TilePlan, TileStep
from shared.model.weights import Array, Weight
from shared.row_ranges import RowRange

# Since this version, Slice takes its range as inputs. Before, it took attributes.
_SLICE_WITH_INPUTS: Final = 10


def tile_graph(segment: SegmentNodes, plan: TilePlan) -> Graph:
    """Return the graph of a tile.

    Its inputs and outputs have the names of the segment's, and the rows of the plan. A tensor that passes through the
    segment, and an input that the tile does not need, are left out.
    """
    return _TileWriter(segment, plan).write()


class _TileWriter:
    """Appends the nodes of a tile, with the slices between them."""

    def __init__(self, segment: SegmentNodes, plan: TilePlan) -> None:
        self._segment, self._plan = segment, plan
        self._graph = segment.active.graph
        self._nodes: list[Node] = []
        self._weights: dict[str, Weight] = {}
        self._tensors: dict[str, Tensor] = {}
        # Names of ranges that slices have made, by tensor, axis and rows.
        self._sliced: dict[tuple[str, int, RowRange], str] = {}
        self._outputs = plan.outputs
        # Inside the tile, an output that other nodes read with a halo has another name.
        self._names = {
            name: self._unused(f"{name}/with_halo")
            for name, rows in self._outputs.items()
            if plan.held[name].rows != rows
        }

    def write(self) -> Graph:
        for name in self._plan.inputs:
            self._describe(name, name)
        for step in self._plan.steps:
            self._append(step)
        for name in self._names:
            held = self._plan.held[name]
            self._slice(self._names[name], name, name, held, self._outputs[name])
        read = dict.fromkeys(name for node in self._nodes for name in node.reads)
        constants = constant_nodes(self._segment.active, read)
        used = dict.fromkeys((*read, *(name for node in constants for name in (*node.reads, *node.written))))
        weights = {name: self._graph.weights[name] for name in used if name in self._graph.weights}
        for name in used:
            if name not in self._tensors and name in self._graph.tensors:
                self._tensors[name] = self._graph.tensors[name]
        top, bottom = next(iter(self._outputs.values()))
        return Graph(
            name=f"{self._graph.name} rows [{top},{bottom})",
            nodes=(*constants, *self._nodes),
            inputs=tuple(self._plan.inputs),
            outputs=tuple(self._outputs),
            tensors=self._tensors,
            weights={**weights, **self._weights},
            opsets=self._graph.opsets,
        )

    def _append(self, step: TileStep) -> None:
        node, read = step.node, step.read
        if read is None:
            for name in node.written:
                self._describe(name, name)
            self._nodes.append(node)
            return
        # The height matters to relations with borders only. These read one input.
        position = next(iter(read.axes), None)
        height = 0 if position is None else self._segment.shape(node.inputs[position])[read.axes[position]]
        changed = read.relation.rewrite(node, step.rows, height)
        inputs = list(changed.node.inputs)
        for position, axis in read.axes.items():
            if inputs[position]:
                rows = read.relation.needed(step.rows, height)
                inputs[position] = self._rows(inputs[position], HeldRows(axis, rows))
        made = read.relation.made(step.rows, height)
        outputs = [self._names.get(name, name) for name in node.outputs]
        for name in node.written:
            self._describe(name, self._names.get(name, name))
        if made != step.rows:
            # Only operators with a single output make more than is wanted.
            name, wanted = node.written[0], outputs[0]
            axis = self._plan.held[name].axis
            outputs[0] = self._unused(f"{wanted}/rows_{made[0]}_{made[1]}")
            self._describe(name, outputs[0], HeldRows(axis, made))
        self._constants(changed, inputs, outputs[0])
        self._nodes.append(replace(changed.node, inputs=tuple(inputs), outputs=tuple(outputs)))
        if made != step.rows:
            self._slice(outputs[0], wanted, name, HeldRows(axis, made), step.rows)

    def _constants(self, changed: RewrittenNode, inputs: list[str], output: str) -> None:
        """Add the constants that a node's rows change, and put their names among its inputs."""
        for position, values in changed.constants.items():
            inputs[position] = self._constant(f"{output}/input_{position}", values)

    def _rows(self, tensor: str, wanted: HeldRows) -> str:
        """Return the name of a tensor's rows; a slice makes them if the tile holds more."""
        shape = self._segment.shape(tensor)
        held = self._plan.held.get(tensor, HeldRows(wanted.axis, (0, shape[wanted.axis])))
        own_name = self._names.get(tensor, tensor)
        if held.rows == wanted.rows:
            return own_name
        key = (tensor, wanted.axis, wanted.rows)
        if key not in self._sliced:
            self._sliced[key] = self._unused(f"{tensor}/rows_{wanted.rows[0]}_{wanted.rows[1]}")
            self._slice(own_name, self._sliced[key], tensor, held, wanted.rows)
        return self._sliced[key]

    def _slice(self, source: str, target: str, tensor: str, held: HeldRows, rows: RowRange) -> None:
        """Append a slice from the held rows of a tensor to `rows` of it."""
        first, last = rows[0] - held.rows[0], rows[1] - held.rows[0]
        self._describe(tensor, target, HeldRows(held.axis, rows))
        ends = {"starts": (first,), "ends": (last,), "axes": (held.axis,)}
        if self._graph.opsets.get("", 0) < _SLICE_WITH_INPUTS:
            self._nodes.append(Node(target, "Slice", (source,), (target,), ends))
            return
        names = [self._constant(f"{target}/{name}", np.asarray(value, np.int64)) for name, value in ends.items()]
        self._nodes.append(Node(target, "Slice", (source, *names), (target,)))

    def _unused(self, name: str) -> str:
        """Return a name for a new tensor: `name`, with marks behind it while the segment or the tile has such a one."""
        while name in self._graph.tensors or name in self._tensors:
            name += "'"
        return name

    def _constant(self, name: str, values: Array) -> str:
        name = self._unused(name)
        tensor = Tensor(name, DType.INT64, values.shape)
        self._tensors[name], self._weights[name] = tensor, Weight(tensor, values)
        return name

    def _describe(self, tensor: str, name: str, rows: HeldRows | None = None) -> None:
        """Describe a tensor of the tile: one of the segment with other rows, those that the tile holds by default."""
        whole = self._graph.tensor(tensor)
        part = rows or self._plan.held.get(tensor)
        shape = list(whole.shape)
        if part is not None:
            shape[part.axis] = part.rows[1] - part.rows[0]
        self._tensors[name] = Tensor(name, whole.dtype, tuple(shape))
