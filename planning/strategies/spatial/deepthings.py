"""DeepThings: the early layers as one volume in equal parts, the rest on the gateway."""

from collections.abc import Sequence

from planning.search.linear_costs import LinearCosts
from planning.search.spatial_group import RowUnit, SpatialGroup
from planning.search.volume_routes import Volume, equal_rows
from planning.strategies.spatial.spatial_baseline import Division, SpatialBaseline
from planning.tiles.rows import rows_at
from shared.row_ranges import RowRange


def fused_head(group: SpatialGroup) -> Division:
    """Return the layers up to the last reduction of rows as one volume, in equal parts.

    The publication fuses the first 16 layers of YOLOv2, after which its last pooling layer follows soon. So the volume
    ends before the last layer whose output has fewer rows than its input; if there is none behind the first layer, it
    is the whole stretch. Parts are the rows of a grid of K x 1 (fused tile partitioning).
    """
    stretch = group.stretches()[0]
    reducing = [place for place, unit in enumerate(stretch) if (unit.rows or 0) < rows_at(group.model, unit.start)]
    return _fused(group, stretch, max(reducing, default=0) or len(stretch))


def quickest_head(group: SpatialGroup) -> Division:
    """Return the number of fused layers with the least time by the linear model; the rest runs on the gateway."""
    stretch, linear, gateway = group.stretches()[0], LinearCosts(group), group.providers.index(group.gateway)

    def divide(height: int) -> list[RowRange]:
        return equal_rows(height, len(group.providers))

    fused = linear.volume_times(stretch, divide)[0]
    times = [
        fused[place] + linear.gather_ms(unit, divide) + group.whole_ms[gateway] * sum(linear.work[unit.stop :])
        for place, unit in enumerate(stretch)
    ]
    return _fused(group, stretch, times.index(min(times)) + 1)


def _fused(group: SpatialGroup, stretch: Sequence[RowUnit], count: int) -> Division:
    end = stretch[count - 1]
    rows = tuple(equal_rows(end.rows or 0, len(group.providers)))
    return Division((Volume(stretch[0].start, end.stop, rows),), whole_on=group.gateway)


_CITATION = (
    "Zhao et al., DeepThings: distributed adaptive deep learning inference on resource-constrained IoT edge clusters, "
    "IEEE TCAD 37(11), 2018"
)

DEEPTHINGS = SpatialBaseline(
    name="deepthings",
    description="the layers before the last reduction of rows fused and divided equally, the rest on the gateway",
    citation=_CITATION,
    divide=fused_head,
)

VARIANTS = (
    SpatialBaseline(
        name="deepthings:quickest",
        description="fuses as many layers as take the least time by a linear model",
        citation=_CITATION,
        divide=quickest_head,
    ),
)
