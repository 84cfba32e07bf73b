"""DeeperThings: several volumes of fused layers, each divided equally."""

from planning.search.linear_costs import LinearCosts
from planning.search.spatial_group import SpatialGroup
from planning.search.volume_routes import equal_rows
from planning.strategies.spatial.spatial_baseline import Division, SpatialBaseline


def equal_volumes(group: SpatialGroup) -> Division:
    """Return the volumes with the least time by the linear model, each in equal parts.

    The publication chooses by integer programming whether a layer is fused and whether its inputs or its outputs are
    divided, and divides the weights of late layers too. DistrEdge takes of it several volumes in equal parts.
    """
    linear = LinearCosts(group)
    return Division(
        [
            volume
            for stretch in group.stretches()
            for volume in linear.quickest_volumes(stretch, lambda height: equal_rows(height, len(group.providers)))
        ]
    )


DEEPERTHINGS = SpatialBaseline(
    name="deeperthings",
    description="several volumes of fused layers, each divided equally",
    citation=(
        "Stahl et al., DeeperThings: fully distributed CNN inference on resource-constrained edge devices, "
        "International Journal of Parallel Programming 49, 2021"
    ),
    divide=equal_volumes,
)
