"""Row rule of Resize and Upsample: rows that a resized row is made of, for whole factors.

Coordinates are those of the operator Resize in the ONNX specification, attribute `coordinate_transformation_mode`.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import ceil, floor
from typing import Final

from shared.model.tiles.node_view import NodeView, RowRead
from shared.model.tiles.row_relations import EnlargedRows
from shared.row_ranges import RowRange

_HALF: Final = Fraction(1, 2)
# Version 11 of Resize has coordinates and input sizes. Before, as with Upsample, row r is made of row r / factor.
_WITH_COORDINATES: Final = 11

# From a row of the output and the factor to the coordinate in the input.
_COORDINATES: Final[Mapping[str, Callable[[int, int], Fraction]]] = {
    "asymmetric": lambda row, factor: Fraction(row, factor),
    "half_pixel": lambda row, factor: (row + _HALF) / factor - _HALF,
    "half_pixel_symmetric": lambda row, factor: (row + _HALF) / factor - _HALF,
    "pytorch_half_pixel": lambda row, factor: (row + _HALF) / factor - _HALF,
    "tf_half_pixel_for_nn": lambda row, factor: (row + _HALF) / factor,
}
_ROUNDINGS: Final[Mapping[str, Callable[[Fraction], int]]] = {
    "round_prefer_floor": lambda coordinate: ceil(coordinate - _HALF),
    "round_prefer_ceil": lambda coordinate: floor(coordinate + _HALF),
    "floor": floor,
    "ceil": ceil,
}


def resize_read(view: NodeView) -> RowRead | str:
    """Return how Resize or Upsample reads rows, or the reason why no tile can.

    A shift of the input by one row shifts the output by `factor` rows. Coordinates that depend on the height, and
    factors that are no whole numbers, do not have this property.
    """
    before, after = view.shape(0)[view.axis], view.output_shape[view.axis]
    factor, rest = divmod(after, before)
    if rest or not _has_scale(view, factor):
        return f"makes {after} rows of {before}: the factor is not a whole number"
    place = _place(view)
    sizes = view.numbers(3) if view.has(3) and view.node.op_type == "Resize" else None
    if view.has(3) and (sizes is None or view.node.text("keep_aspect_ratio_policy", "stretch") != "stretch"):
        return "computes its size"
    shape = None if sizes is None or place is None else (3, sizes, place)
    sources = _sources(view, factor)
    if isinstance(sources, str):
        return sources
    return view.first_input(EnlargedRows(factor, sources, shape))


def _sources(view: NodeView, factor: int) -> Callable[[int], RowRange] | str:
    """Return the function from a row of the output to the rows that it is made of, or the reason why there is none."""
    if factor == 1:
        return lambda row: (row, row + 1)
    node = view.node
    coordinates, rounding = "asymmetric", "floor"
    if node.op_type == "Resize" and view.active.graph.opsets.get("", 0) >= _WITH_COORDINATES:
        coordinates = node.text("coordinate_transformation_mode", "half_pixel")
        rounding = node.text("nearest_mode", "round_prefer_floor")
    if coordinates not in _COORDINATES:
        return f"computes coordinates ({coordinates}) from the number of rows"
    coordinate = _COORDINATES[coordinates]
    match node.text("mode", "nearest"):
        case "nearest" if rounding in _ROUNDINGS:
            nearest = _ROUNDINGS[rounding]
            return lambda row: (nearest(coordinate(row, factor)), nearest(coordinate(row, factor)) + 1)
        case "linear" if not node.integer("antialias", 0):
            return lambda row: (floor(coordinate(row, factor)), ceil(coordinate(row, factor)) + 1)
    return "interpolates with more than two rows"


def _place(view: NodeView) -> int | None:
    """Return the place of the rows among the axes that are resized; none if they are not."""
    rank = len(view.output_shape)
    axes = [axis % rank for axis in view.node.integers("axes", tuple(range(rank)))]
    return axes.index(view.axis) if view.axis in axes else None


def _has_scale(view: NodeView, factor: int) -> bool:
    """Return whether the scale of the rows is `factor`; a scale that was rounded to a size is not."""
    place = _place(view)
    position = 2 if view.node.op_type == "Resize" and view.active.graph.opsets.get("", 0) >= _WITH_COORDINATES else 1
    if place is None or view.has(3):
        return True
    if not view.has(position):
        stated = view.node.attributes.get("scales")
        return isinstance(stated, tuple) and float(stated[place]) == factor
    values = view.values(position)
    return values is not None and values.size > place and float(values.ravel()[place]) == factor
