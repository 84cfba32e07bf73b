"""Offload: the whole model on the device with the best hardware."""

from planning.search.spatial_group import SpatialGroup
from planning.strategies.spatial.spatial_baseline import Division, SpatialBaseline


def whole_model(group: SpatialGroup) -> Division:
    """Return no volumes, so that the fastest provider runs everything.

    DistrEdge selects the provider with the best computing hardware, not that of the lowest latency. Of several equal
    ones it takes the first, which may have the slowest link.
    """
    return Division()


OFFLOAD = SpatialBaseline(
    name="offload",
    description="the whole model on the device with the best hardware, whatever its link",
    citation="baseline Offload in Hou et al., DistrEdge, IPDPS 2022",
    divide=whole_model,
)
