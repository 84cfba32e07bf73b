"""AOFL: the best volumes of fused layers for one ratio of rows, by linear models."""

from collections.abc import Callable

from planning.search.linear_costs import LinearCosts
from planning.search.spatial_group import SpatialGroup
from planning.search.volume_routes import proportional_rows
from planning.strategies.spatial.spatial_baseline import Division, SpatialBaseline
from planning.tiles.rows import rows_at

Ratio = Callable[[SpatialGroup], list[float]]


def linear_ratio(group: SpatialGroup) -> list[float]:
    """Return the ratio with which all providers end at once, by linear models of computing and of the input's link."""
    linear, source = LinearCosts(group), len(group.providers)
    stretch = group.stretches()[0]
    tiled = sum(sum(linear.work[unit.start : unit.stop]) for run in group.stretches() for unit in run)
    start = stretch[0].start
    holder = source if start == 0 else group.providers.index(group.gateway)
    sent_bytes = linear.row_bytes(start) * rows_at(group.model, start)
    times = [
        whole_ms * tiled + sent_bytes * float(linear.per_byte_ms[holder, place])
        for place, whole_ms in enumerate(group.whole_ms)
    ]
    if 0 in times:
        return [float(each == 0) / times.count(0) for each in times]
    return [(1 / each) / sum(1 / other for other in times) for each in times]


def fused_by(ratio: Ratio) -> Callable[[SpatialGroup], Division]:
    """Return the rule that divides all volumes by ``ratio`` and chooses them by the linear model.

    The publication searches all partitions, of which there are 2^(L-1) for L layers. Times of volumes add up, so
    dynamic programming finds the same one.
    """

    def divide(group: SpatialGroup) -> Division:
        shares, linear = ratio(group), LinearCosts(group)
        return Division(
            [
                volume
                for stretch in group.stretches()
                for volume in linear.quickest_volumes(stretch, lambda height: proportional_rows(height, shares))
            ]
        )

    return divide


_CITATION = "Zhou et al., Adaptive parallel execution of deep neural networks on heterogeneous edge devices, SEC 2019"

AOFL = SpatialBaseline(
    name="aofl",
    description="the best volumes of fused layers for one ratio of rows, by linear models of devices and links",
    citation=_CITATION,
    divide=fused_by(linear_ratio),
)

VARIANTS = (
    SpatialBaseline(
        name="aofl:capability",
        description="a ratio of rows by computing capability alone",
        citation=_CITATION,
        divide=fused_by(SpatialGroup.capability_shares),
    ),
)
