"""Relations between the rows of a node's output and the rows of its input.

Every class of operators has one relation. It says which rows of the input a range of output rows needs, and how the
node changes so that it computes these rows from those.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

import numpy as np

from shared.model.graph import Attribute, Node
from shared.model.weights import Array
from shared.row_ranges import RowRange


@dataclass(frozen=True, slots=True, eq=False)
class RewrittenNode:
    """A node of a tile.

    Attributes:
        node: with the attributes of the tile.
        constants: new values of constant inputs, by their position.
    """

    node: Node
    constants: Mapping[int, Array] = field(default_factory=dict)


class RowRelation(Protocol):
    """Relation of a node whose input has `height` rows.

    A node may be unable to compute the wanted rows alone. It then makes more, `made`, and the tile cuts the rest off.
    """

    @property
    def enlargement(self) -> int:
        """Rows by which the output shifts, if the input shifts by a row or more."""

    def reach(self, rows: RowRange) -> RowRange:
        """Return the rows of the input that `rows` of the output need; some may lie beyond its borders."""

    def needed(self, rows: RowRange, height: int) -> RowRange:
        """Return the rows of the input from which the node of a tile computes `rows` of the output; at least one."""

    def made(self, rows: RowRange, height: int) -> RowRange:
        """Return the rows of the output that the node of a tile computes where `rows` are wanted."""

    def rewrite(self, node: Node, rows: RowRange, height: int) -> RewrittenNode:
        """Return the node that computes `made(rows)` from `needed(rows)`."""


@dataclass(frozen=True, slots=True)
class SameRows:
    """Row r of the output needs row r of the input, as with activations and arithmetic.

    Attributes:
        shape: constant input that states the output's shape, as (position, sizes, axis of the rows); None for none.
    """

    shape: tuple[int, tuple[int, ...], int] | None = None

    @property
    def enlargement(self) -> int:
        """Always 1: the output shifts by a row, or less."""
        return 1

    def reach(self, rows: RowRange) -> RowRange:
        """Return the same rows."""
        return rows

    def needed(self, rows: RowRange, height: int) -> RowRange:
        """Return the same rows."""
        return rows

    def made(self, rows: RowRange, height: int) -> RowRange:
        """Return the same rows."""
        return rows

    def rewrite(self, node: Node, rows: RowRange, height: int) -> RewrittenNode:
        """Return the node with the height of the tile in the shape that it states."""
        return RewrittenNode(node, _with_height(self.shape, rows))


@dataclass(frozen=True, slots=True)
class WindowRows:
    """Row r of the output needs the rows ``[r stride - above, r stride - above + extent)`` of the input.

    This is so for convolution, pooling and SpaceToDepth. Rows beyond the borders are padding.

    Attributes:
        extent: rows from the first to the last of the kernel, with dilation.
        stride: rows of the input from one row of the output to the next.
        above: rows of padding above the image.
        below: rows of padding below the image. A window may reach further where sizes are rounded up.
        pads: padding of the node before and behind each spatial axis; None for an operator without padding.
        place: place of the rows among the spatial axes.
        ceil: whether sizes are rounded up.
    """

    extent: int
    stride: int
    above: int = 0
    below: int = 0
    pads: tuple[int, ...] | None = None
    place: int = 0
    ceil: bool = False

    @property
    def enlargement(self) -> int:
        """Always 1: the output shifts by a row, or less."""
        return 1

    def reach(self, rows: RowRange) -> RowRange:
        """Return the rows under the windows."""
        return rows[0] * self.stride - self.above, (rows[1] - 1) * self.stride - self.above + self.extent

    def needed(self, rows: RowRange, height: int) -> RowRange:
        """Return the rows under the windows, as far as they exist."""
        return _clip(self.reach(self.made(rows, height)), height)

    def made(self, rows: RowRange, height: int) -> RowRange:
        """Return the rows with the nearest ones whose windows have a row of the image: no kernel runs without any."""
        first_bottom = -((self.extent - self.above - 1) // self.stride) + 1
        last_top = (height - 1 + self.above) // self.stride
        return min(rows[0], last_top), max(rows[1], first_bottom)

    def rewrite(self, node: Node, rows: RowRange, height: int) -> RewrittenNode:
        """Return the node with padding at the true borders only."""
        if self.pads is None:
            return RewrittenNode(node)
        reach = self.reach(self.made(rows, height))
        needed = _clip(reach, height)
        pads = list(self.pads)
        pads[self.place] = needed[0] - reach[0]
        # The last window of a size that is rounded up counts its overhang in another way than padding.
        overhangs = self.ceil and reach[1] - height > self.below
        pads[self.place + len(pads) // 2] = self.below if overhangs else reach[1] - needed[1]
        explicit = _with_attributes(_without_attributes(node, "auto_pad", "ceil_mode"), pads=tuple(pads))
        return RewrittenNode(_with_attributes(explicit, ceil_mode=1) if self.ceil else explicit)


@dataclass(frozen=True, slots=True)
class SpreadRows:
    """Row i of the input adds to the rows ``[i stride - above, i stride - above + extent)`` of the output.

    This is so for transposed convolution.

    Attributes:
        extent: rows from the first to the last of the kernel, with dilation.
        stride: rows of the output from one row of the input to the next.
        above: rows that are cut off above.
        pads: rows and columns that are cut off before and behind each spatial axis.
        output_padding: rows and columns that are added behind each spatial axis.
        place: place of the rows among the spatial axes.
    """

    extent: int
    stride: int
    above: int
    pads: tuple[int, ...]
    output_padding: tuple[int, ...]
    place: int = 0

    @property
    def enlargement(self) -> int:
        """Stride of the kernel in the output."""
        return self.stride

    def reach(self, rows: RowRange) -> RowRange:
        """Return the rows that add to the wanted ones."""
        first = -((self.extent - 1 - rows[0] - self.above) // self.stride)
        # A row that no kernel covers starts from the nearest row above it: nothing can be cut off otherwise.
        return min(first, (rows[0] + self.above) // self.stride), (rows[1] - 1 + self.above) // self.stride + 1

    def needed(self, rows: RowRange, height: int) -> RowRange:
        """Return the rows that add to the wanted ones, as far as they exist."""
        return _clip(self.reach(rows), height)

    def made(self, rows: RowRange, height: int) -> RowRange:
        """Return the same rows."""
        return rows

    def rewrite(self, node: Node, rows: RowRange, height: int) -> RewrittenNode:
        """Return the node that cuts off what lies beyond the wanted rows."""
        top, bottom = self.needed(rows, height)
        above = rows[0] + self.above - top * self.stride
        below = (bottom - top - 1) * self.stride + self.extent - above - (rows[1] - rows[0])
        pads, added = list(self.pads), list(self.output_padding)
        pads[self.place], pads[self.place + len(added)] = above, max(below, 0)
        added[self.place] = max(-below, 0)
        plain = _without_attributes(node, "auto_pad", "output_shape")
        return RewrittenNode(_with_attributes(plain, pads=tuple(pads), output_padding=tuple(added)))


@dataclass(frozen=True, slots=True)
class EnlargedRows:
    """Every row of the input becomes `factor` rows of the output, as with Resize, Upsample and DepthToSpace.

    Attributes:
        factor: rows of the output for one of the input.
        sources: from a row of the output to the rows of the input that it needs, ascending.
        shape: constant input that states the output's shape, as (position, sizes, axis of the rows); None for none.
    """

    factor: int
    sources: Callable[[int], RowRange]
    shape: tuple[int, tuple[int, ...], int] | None = None

    @property
    def enlargement(self) -> int:
        """The factor."""
        return self.factor

    def reach(self, rows: RowRange) -> RowRange:
        """Return the sources of the rows, and the rows of the input at their place."""
        first, last = rows[0], rows[1] - 1
        # Made are the rows at the place of those of the input, so these have to be there as well.
        top = min(self.sources(first)[0], first // self.factor)
        return top, max(self.sources(last)[1], last // self.factor + 1)

    def needed(self, rows: RowRange, height: int) -> RowRange:
        """Return the sources, as far as they exist."""
        return _clip(self.reach(rows), height)

    def made(self, rows: RowRange, height: int) -> RowRange:
        """Return all rows that the sources become."""
        top, bottom = self.needed(rows, height)
        return top * self.factor, bottom * self.factor

    def rewrite(self, node: Node, rows: RowRange, height: int) -> RewrittenNode:
        """Return the node with the height of the tile in the size that it states."""
        return RewrittenNode(node, _with_height(self.shape, self.made(rows, height)))


class PadMode(Enum):
    """Source of the rows of a Pad whose border can be cut off."""

    CONSTANT = "constant"
    EDGE = "edge"
    REFLECT = "reflect"


@dataclass(frozen=True, slots=True)
class PaddedRows:
    """Row r of the output is row r - above of the input, or a row of the border: operator Pad.

    Attributes:
        above: rows that are added above; negative for rows that are cut off.
        mode: what they hold.
        pads: sizes of the node, before and behind each of its axes.
        place: place of the rows among these axes.
        position: of the constant input that holds the sizes; None for an attribute.
    """

    above: int
    mode: PadMode
    pads: tuple[int, ...]
    place: int
    position: int | None

    @property
    def enlargement(self) -> int:
        """Always 1: the output shifts by a row, or less."""
        return 1

    def reach(self, rows: RowRange) -> RowRange:
        """Return the rows shifted by the padding."""
        return rows[0] - self.above, rows[1] - self.above

    def needed(self, rows: RowRange, height: int) -> RowRange:
        """Return the rows that are there, and those that the border copies."""
        top, bottom = self.reach(rows)
        above, below = self._added(rows, height)
        # A mirror leaves out the row at the border. The other modes need the border's row, or any.
        mirrored = self.mode is PadMode.REFLECT
        if above:
            bottom = max(bottom, above + 1 if mirrored else 1)
        if below:
            top = min(top, height - 1 - (below if mirrored else 0))
        return max(top, 0), min(bottom, height)

    def made(self, rows: RowRange, height: int) -> RowRange:
        """Return the rows with those that lie between them and the rows that the border copies."""
        top, bottom = self.needed(rows, height)
        above, below = self._added(rows, height)
        return top + self.above - above, bottom + self.above + below

    def rewrite(self, node: Node, rows: RowRange, height: int) -> RewrittenNode:
        """Return the node with padding at the true borders only."""
        pads = list(self.pads)
        pads[self.place], pads[self.place + len(pads) // 2] = self._added(rows, height)
        if self.position is None:
            return RewrittenNode(_with_attributes(node, pads=tuple(pads)))
        return RewrittenNode(node, {self.position: np.asarray(pads, np.int64)})

    def _added(self, rows: RowRange, height: int) -> tuple[int, int]:
        """Return how many of the wanted rows lie above and below the image."""
        top, bottom = self.reach(rows)
        return max(-top, 0), max(bottom - height, 0)


def _clip(rows: RowRange, height: int) -> RowRange:
    """Return the rows that exist; the nearest one if none does."""
    top = min(max(rows[0], 0), height - 1)
    return top, max(min(rows[1], height), top + 1)


def _with_height(shape: tuple[int, tuple[int, ...], int] | None, rows: RowRange) -> dict[int, Array]:
    """Return the constant input that states a shape, with another height."""
    if shape is None:
        return {}
    position, sizes, axis = shape
    return {position: np.asarray((*sizes[:axis], rows[1] - rows[0], *sizes[axis + 1 :]), np.int64)}


def _with_attributes(node: Node, **attributes: Attribute) -> Node:
    return replace(node, attributes={**node.attributes, **attributes})


def _without_attributes(node: Node, *names: str) -> Node:
    return replace(node, attributes={name: value for name, value in node.attributes.items() if name not in names})
