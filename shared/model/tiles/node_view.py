"""The view of a node that row rules judge, and their answer."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shared.model.errors import AbsentValuesError
from shared.model.graph import Node
from shared.model.liveness import ActiveGraph
from shared.model.tiles.row_relations import RowRelation
from shared.model.weights import Array


@dataclass(frozen=True, slots=True)
class RowRead:
    """How a node reads rows.

    Attributes:
        relation: between the rows of its output and those of these inputs.
        axes: axis of the rows in each input that has rows, by position. The node reads other inputs whole.
    """

    relation: RowRelation
    axes: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node whose output is wanted in rows along an axis."""

    active: ActiveGraph
    node: Node
    axis: int

    def shape(self, position: int) -> tuple[int, ...]:
        """Return the shape of an input."""
        return self.active.graph.tensor(self.node.inputs[position]).shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the first output."""
        return self.active.graph.tensor(self.node.written[0]).shape

    def has(self, position: int) -> bool:
        """Return whether the node has this input."""
        return position < len(self.node.inputs) and bool(self.node.inputs[position])

    def values(self, position: int) -> Array | None:
        """Return the values of a constant input; none if they are computed or not at hand."""
        name = self.node.inputs[position]
        maker = self.active.producers.get(name)
        if maker is not None and maker.op_type == "Constant":
            stated = maker.attributes.get("value", maker.attributes.get("value_floats"))
            return np.asarray(stated) if isinstance(stated, np.ndarray | tuple) else None
        weight = self.active.graph.weights.get(name)
        try:
            return None if weight is None else weight.values()
        except AbsentValuesError:
            return None

    def numbers(self, position: int) -> tuple[int, ...] | None:
        """Return the values of a constant input of integers; none if they are computed or not at hand."""
        values = self.values(position)
        return None if values is None else tuple(int(value) for value in np.ravel(values))

    def along(self, default: int) -> int:
        """Return the attribute `axis`, counted from the front."""
        return self.node.integer("axis", default) % len(self.output_shape)

    def first_input(self, relation: RowRelation) -> RowRead:
        """Return the reading of the first input alone, with rows along the same axis as in the output."""
        return RowRead(relation, {0: self.axis})
