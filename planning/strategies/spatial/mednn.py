"""MeDNN: every layer divided greedily by computing capability, as far as memory allows."""

from collections.abc import Sequence

from planning.search.spatial_group import RowUnit, SpatialGroup
from planning.search.volume_routes import counted_rows, layer_volumes
from planning.strategies.spatial.spatial_baseline import Division, SpatialBaseline
from shared.segment_memory import segment_memory_bytes


def greedy_layers(group: SpatialGroup) -> Division:
    """Return every layer as a volume of its own, divided by `greedy_counts`.

    A device whose memory cannot hold the layer's parameters beside those that it holds already has no part of it. If
    none can, all have. The publication divides in two dimensions, here in rows. Its structured compaction changes the
    network and is left out, as in DistrEdge.
    """
    units = [unit for stretch in group.stretches() for unit in stretch]
    held = [0.0] * len(group.providers)
    rows = []
    for unit in units:
        able = _able(group, unit, held)
        counts = greedy_counts(unit.rows or 0, group.whole_ms, able)
        for place, count in enumerate(counts):
            held[place] += _parameter_bytes(group, unit) if count else 0.0
        rows.append(counted_rows(counts))
    return Division(layer_volumes(units, rows))


def greedy_counts(height: int, whole_ms: Sequence[float], able: Sequence[bool]) -> list[int]:
    """Return the rows of every device: rounded down in proportion to capability, then row by row.

    Each row that remains goes to the device that ends first with it.

    Args:
        height: rows to give away.
        whole_ms: time of the whole model on each device.
        able: whether it may have rows; at least one may.
    """
    # A device that takes no time ends first with every row.
    least_ms = min(ms for ms, may in zip(whole_ms, able, strict=True) if may)
    speeds = [
        (float(ms == 0) if least_ms == 0 else 1 / ms) if may else 0.0 for ms, may in zip(whole_ms, able, strict=True)
    ]
    counts = [int(height * speed / sum(speeds)) for speed in speeds]
    while sum(counts) < height:
        ends = [((count + 1) / speed if speed else float("inf")) for count, speed in zip(counts, speeds, strict=True)]
        counts[ends.index(min(ends))] += 1
    return counts


def _able(group: SpatialGroup, unit: RowUnit, held: Sequence[float]) -> list[bool]:
    devices = [group.network.problem.devices[name] for name in group.providers]
    share = group.capability_shares()
    working = max(block.working_bytes for block in group.model.blocks[unit.start : unit.stop])
    able = [
        device.memory_bytes is None
        or segment_memory_bytes((own, _parameter_bytes(group, unit)), (working * part,)) <= device.memory_bytes
        for device, own, part in zip(devices, held, share, strict=True)
    ]
    return able if any(able) else [True] * len(able)


def _parameter_bytes(group: SpatialGroup, unit: RowUnit) -> float:
    return sum(block.parameter_bytes for block in group.model.blocks[unit.start : unit.stop])


MEDNN = SpatialBaseline(
    name="mednn",
    description="every layer by itself, rows given away greedily by capability and memory",
    citation=(
        "Mao et al., MeDNN: a distributed mobile system with enhanced partition and deployment for large-scale DNNs, "
        "ICCAD 2017"
    ),
    divide=greedy_layers,
)
