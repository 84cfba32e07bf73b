"""MoDNN: every layer divided in proportion to the devices' computing capability."""

from planning.search.linear_costs import work_shares
from planning.search.spatial_group import SpatialGroup
from planning.search.volume_routes import layer_volumes, proportional_rows
from planning.strategies.spatial.spatial_baseline import Division, SpatialBaseline

# Largest share of a model's work with which the group owner computes a layer alone in the hub variant.
LIGHT_WORK = 1e-3


def layer_by_layer(group: SpatialGroup) -> Division:
    """Return every layer as a volume of its own, rows in proportion to capability.

    Between layers neighbours exchange the rows of their halos, as DistrEdge evaluates it.
    """
    shares = group.capability_shares()
    units = [unit for stretch in group.stretches() for unit in stretch]
    return Division(layer_volumes(units, [proportional_rows(unit.rows or 0, shares) for unit in units]))


def through_the_owner(group: SpatialGroup) -> Division:
    """Return the layers with work divided as above, and all others on the group owner.

    In the publication the owner gathers the output of every layer and hands it out again. A plan gathers only where a
    device computes. So the owner computes the light layers (pooling) and those without rows, and rows between two
    layers with work go straight from device to device.
    """
    shares, work = group.capability_shares(), work_shares(group.network.problem, group.stream.model)
    units = [
        unit for stretch in group.stretches() for unit in stretch if sum(work[unit.start : unit.stop]) > LIGHT_WORK
    ]
    rows = [proportional_rows(unit.rows or 0, shares) for unit in units]
    return Division(layer_volumes(units, rows), whole_on=group.gateway)


_CITATION = "Mao et al., MoDNN: local distributed mobile computing system for deep neural network, DATE 2017"

MODNN = SpatialBaseline(
    name="modnn",
    description="every layer by itself, rows in proportion to computing capability",
    citation=_CITATION,
    divide=layer_by_layer,
)

VARIANTS = (
    SpatialBaseline(
        name="modnn:hub",
        description="gathers at the group owner, which computes pooling and layers without rows",
        citation=_CITATION,
        divide=through_the_owner,
    ),
)
