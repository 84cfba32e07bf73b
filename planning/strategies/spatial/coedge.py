"""CoEdge: every layer divided by one ratio, chosen by linear models of devices and links."""

from collections.abc import Sequence

from planning.search.linear_costs import LinearCosts, halo_rows
from planning.search.spatial_group import RowUnit, SpatialGroup
from planning.search.volume_routes import layer_volumes, proportional_rows
from planning.strategies.spatial.spatial_baseline import Division, SpatialBaseline
from planning.tiles.rows import rows_at


def workload_partition(group: SpatialGroup) -> Division:
    """Return every layer as a volume of its own, all divided by the ratio of `balanced_ratio`.

    The publication minimises energy within a deadline. DistrEdge compares its latency, so the ratio here minimises it.
    """
    units = [unit for stretch in group.stretches() for unit in stretch]
    shares = balanced_ratio(group, units)
    return Division(layer_volumes(units, [proportional_rows(unit.rows or 0, shares) for unit in units]))


def balanced_ratio(group: SpatialGroup, units: Sequence[RowUnit]) -> list[float]:
    """Return the ratio that solves: minimise max over k of (c[k] a[k] + d[k]), with a >= 0 and a sum of 1.

    c[k] is the time of all rows on device k and of the whole input on its link, d[k] that of the halos from its
    neighbours. A device whose rows of some layer would be fewer than the halo is dropped, the smallest share first, and
    the programme is solved again for the rest: its halos come from other neighbours then. At most K rounds.
    """
    linear = LinearCosts(group)
    halos = [halo_rows(group, unit) for unit in units]
    taking_part = list(range(len(group.providers)))
    while True:
        c, d = _coefficients(linear, units, halos, taking_part)
        shares = equal_ends(c, d)
        smallest = min(range(len(shares)), key=shares.__getitem__)
        too_few = any(
            shares[smallest] * rows_at(group.model, unit.start) < max(halo)
            for unit, halo in zip(units, halos, strict=True)
        )
        if len(shares) == 1 or (shares[smallest] > 0 and not too_few):
            break
        del taking_part[smallest]
    ratio = [0.0] * len(group.providers)
    for place, share in zip(taking_part, shares, strict=True):
        ratio[place] = share
    return ratio


def equal_ends(c: Sequence[float], d: Sequence[float]) -> list[float]:
    """Return the a >= 0 with the sum 1 that minimise max over k with a[k] > 0 of c[k] a[k] + d[k].

    Devices with a share all end at one time t, so a[k] = (t - d[k]) / c[k]. A device with d[k] >= t has none.
    """
    c = [max(each, 1e-12) for each in c]
    inside = list(range(len(c)))
    while True:
        t = (1 + sum(d[k] / c[k] for k in inside)) / sum(1 / c[k] for k in inside)
        late = [k for k in inside if d[k] >= t]
        if not late or len(inside) == 1:
            break
        inside.remove(max(late, key=d.__getitem__))
    shares = [(t - d[k]) / c[k] if k in inside else 0.0 for k in range(len(c))]
    return [share / sum(shares) for share in shares]


def _coefficients(
    linear: LinearCosts, units: Sequence[RowUnit], halos: Sequence[tuple[int, int]], taking_part: Sequence[int]
) -> tuple[list[float], list[float]]:
    group, start = linear.group, units[0].start
    holder = len(group.providers) if start == 0 else group.providers.index(group.gateway)
    input_bytes = linear.row_bytes(start) * rows_at(group.model, start)
    work = sum(sum(linear.work[unit.start : unit.stop]) for unit in units)
    # The first layer's halo comes with the input.
    above, below = (
        sum(halo[side] * linear.row_bytes(unit.start) for unit, halo in list(zip(units, halos, strict=True))[1:])
        for side in (0, 1)
    )
    c, d = [], []
    for index, place in enumerate(taking_part):
        c.append(group.whole_ms[place] * work + input_bytes * float(linear.per_byte_ms[holder, place]))
        upper = above * float(linear.per_byte_ms[taking_part[index - 1], place]) if index else 0.0
        last = index + 1 == len(taking_part)
        lower = 0.0 if last else below * float(linear.per_byte_ms[taking_part[index + 1], place])
        d.append(upper + lower)
    return c, d


COEDGE = SpatialBaseline(
    name="coedge",
    description="every layer by itself, all by one ratio of rows from linear models of devices and links",
    citation=(
        "Zeng et al., CoEdge: cooperative DNN inference with adaptive workload partitioning over heterogeneous edge "
        "devices, IEEE/ACM Transactions on Networking 29(2), 2021"
    ),
    divide=workload_partition,
)
