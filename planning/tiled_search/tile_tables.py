"""Arrays of a stream's model and devices that the search of tiled plans reads: times by rows, bytes, links.

Shapes: D nodes, U units, B blocks, C encodings of a cut, H rows of a block.
"""

from dataclasses import dataclass, field

import numpy as np

from planning.problem.crossings import Encoding
from planning.problem.plan import RAW
from planning.problem.problem import Device, Model, Problem, RowTable, Stream
from planning.search.arrays import Array, Flags, Index
from planning.search.device_network import DeviceNetwork
from planning.tiled_search.row_maps import RowMap, Unit, fewer_units, height_at, segment_map, units_of
from shared.link_time import transfer_ms

# Largest number of times in `TileTables.time_ms`.
MAX_TIMES = 4_000_000

# Units beyond this number are joined, because the search looks at every pair of cuts.
MOST_UNITS = 24

# Of more devices, those that would do the whole model soonest are looked at.
MOST_DEVICES = 24


@dataclass(frozen=True, slots=True, eq=False)
class CutEncodings:
    """The allowed encodings of what crosses every cut; times are those of a device of codec speed 1.

    Arrays are [U + 1, C]; cuts with fewer encodings are filled up with 0.

    Attributes:
        names: per cut the names; raw first, if it is allowed.
        row_bytes: bytes of one row, if a tile sends or receives it.
        whole_bytes: bytes of one row, if all rows pass between stages that are not split.
        encode_ms, decode_ms: time of one row.
        take_time: whether any of them takes time.
    """

    names: tuple[tuple[str, ...], ...]
    row_bytes: Array
    whole_bytes: Array
    encode_ms: Array
    decode_ms: Array
    take_time: bool


@dataclass(frozen=True, slots=True, eq=False)
class TileTables:
    """One stream of a problem.

    Attributes:
        stream: the stream.
        nodes: names of the nodes: the devices that may compute, the source and the sink.
        able: [D] whether a node may compute.
        source, sink: places among the nodes; a stream without sink has -1.
        units: the units of the model.
        heights: [U + 1] rows of what crosses the cut before every unit, and after the last.
        encodings: the encodings at every cut before a unit, and of the results.
        block_rows: [B] rows of every block; 1 without row data.
        time_ms: [B, D, H + 1] time of a block by its rows under load; 0 where a node does not run the model.
        overhead_ms: [D] time to start a segment, under load.
        tile_overhead_ms: [D] what a tile takes beside, under load.
        codec_factor: [D] time of encoding relative to a device of codec speed 1.
        latency_ms: [D, D] latency from row to column; inf without a link, 0 on the diagonal.
        byte_ms: [D, D] time per byte.
        separate: [D] whether a node's sendings over different links overlap.
        parameter_bytes: [U] parameters of every unit.
        working_bytes: [B] activation of a row of every block.
        memory_bytes: [D] memory of every node; inf for no limit.
        most_blocks: [D] the number of blocks, from block 0 on, that a node may run.
        input_stays: whether the first block must run on the source.
        compute_w: [D] power of computing above idling.
        send_w: [D, D] power of sending from row to column, both ends together.
        segments: the maps that `segment` has made.
    """

    stream: Stream
    nodes: tuple[str, ...]
    able: Flags
    source: int
    sink: int
    units: tuple[Unit, ...]
    heights: tuple[int, ...]
    encodings: CutEncodings
    block_rows: Index
    time_ms: Array
    overhead_ms: Array
    tile_overhead_ms: Array
    codec_factor: Array
    latency_ms: Array
    byte_ms: Array
    separate: Flags
    parameter_bytes: Array
    working_bytes: Array
    memory_bytes: Array
    most_blocks: Array
    input_stays: bool
    compute_w: Array
    send_w: Array
    segments: dict[tuple[int, int], RowMap] = field(default_factory=dict)

    @property
    def whole_ms(self) -> Array:
        """Return [B, D] the time of every block as a whole."""
        return self.time_ms[np.arange(len(self.block_rows)), :, self.block_rows]

    def segment(self, start: int, stop: int) -> RowMap:
        """Return the rows of the input of units ``[start, stop)``, then of each block, by rows of their output.

        Both arrays are [blocks + 1, H + 1].
        """
        known = self.segments.get((start, stop))
        if known is None:
            known = self.segments[start, stop] = segment_map(self.units[start:stop])
        return known


def tile_tables(problem: Problem, stream: Stream, network: DeviceNetwork) -> TileTables | None:
    """Return the arrays of a stream; None if they are too large, or nothing of the model can be split."""
    model, able = problem.models[stream.model], _soonest(problem, stream, network)
    ends = [stream.source] if stream.sink is None else [stream.source, stream.sink]
    nodes = tuple(dict.fromkeys((*able, *ends)))
    most_rows = max((block.rows.output_rows for block in model.blocks if block.rows is not None), default=0)
    if most_rows < 2 or len(model.blocks) * len(nodes) * most_rows > MAX_TIMES:
        return None
    sizes = [min(each.size_bytes for each in own) for own in network.offers(stream.model)]
    units = units_of(model)
    units = fewer_units(units, [sizes[0], *(sizes[unit.stop] for unit in units)], MOST_UNITS)
    if not any(unit.tileable and unit.height > 1 for unit in units):
        return None
    devices = [problem.devices[name] for name in nodes]
    latency_ms, byte_ms = network.matrices(nodes)
    np.fill_diagonal(latency_ms, 0.0)
    send_w = np.array([each.power_tx_w for each in devices])[:, None] + [each.power_rx_w for each in devices]
    heights = (height_at(model, 0), *(unit.height for unit in units))
    return TileTables(
        stream=stream,
        nodes=nodes,
        able=np.array([name in able for name in nodes]),
        source=nodes.index(stream.source),
        sink=-1 if stream.sink is None else nodes.index(stream.sink),
        units=units,
        heights=heights,
        encodings=_encodings(model, units, heights, network.offers(stream.model)),
        block_rows=np.array([block.rows.output_rows if block.rows else 1 for block in model.blocks]),
        time_ms=_times_ms(model, stream.model, devices),
        overhead_ms=np.array([each.slowdown * each.segment_overhead_ms for each in devices]),
        tile_overhead_ms=np.array([each.slowdown * each.tile_overhead_ms for each in devices]),
        codec_factor=np.array([each.slowdown / each.codec_speed for each in devices]),
        latency_ms=latency_ms,
        byte_ms=byte_ms,
        separate=np.array([each.separate_links for each in devices]),
        parameter_bytes=np.array([sum(b.parameter_bytes for b in model.blocks[u.start : u.stop]) for u in units]),
        working_bytes=np.array([b.working_bytes / (b.rows.output_rows if b.rows else 1) for b in model.blocks]),
        memory_bytes=np.array([np.inf if each.memory_bytes is None else each.memory_bytes for each in devices]),
        most_blocks=np.array(
            [len(model.blocks) if each.first_blocks is None else each.first_blocks for each in devices]
        ),
        input_stays=problem.policy.raw_input_stays_on_source,
        compute_w=np.array([each.power_active_w - each.power_idle_w for each in devices]),
        send_w=send_w,
    )


def _soonest(problem: Problem, stream: Stream, network: DeviceNetwork) -> tuple[str, ...]:
    """Return the devices that may compute tiles; the first of many by the time to get the input and run the model."""
    able = network.able_in_tiles(stream.model)
    if len(able) <= MOST_DEVICES:
        return able
    input_bytes = problem.models[stream.model].input_bytes

    def whole_ms(name: str) -> float:
        device, link = problem.devices[name], network.link(stream.source, name)
        own_ms = device.slowdown * sum(device.block_ms[stream.model])
        if name == stream.source:
            return own_ms
        return own_ms + transfer_ms(input_bytes, link.latency_ms, link.bandwidth_mbps) if link else float("inf")

    return tuple(sorted(able, key=whole_ms)[:MOST_DEVICES])


def times_by_rows_ms(whole_ms: float, table: RowTable | None, of: int, step: int) -> Array:
    """Return the time of 0 to ``of`` rows of a block, [of + 1]: `share_ms` of multiples of ``step``."""
    rows = np.arange(of + 1, dtype=np.float64)
    times_ms = np.empty(of + 1)
    below: tuple[float, float] = (0, 0.0)
    for point in (*(table or ()), (of, whole_ms)):
        inner = slice(int(below[0]), int(point[0]) + 1)
        times_ms[inner] = below[1] + (point[1] - below[1]) * (rows[inner] - below[0]) / (point[0] - below[0])
        below = point
    times_ms[of] = whole_ms
    if step > 1:
        times_ms = times_ms[np.minimum(of, -(-np.arange(of + 1) // step) * step)]
    return times_ms


def _times_ms(model: Model, name: str, devices: list[Device]) -> Array:
    heights = [block.rows.output_rows if block.rows else 1 for block in model.blocks]
    times_ms = np.zeros((len(heights), len(devices), max(heights) + 1))
    for place, device in enumerate(devices):
        if name not in device.block_ms:
            continue
        tables = device.row_ms.get(name, (None,) * len(heights))
        for index, (whole_ms, table, of) in enumerate(zip(device.block_ms[name], tables, heights, strict=True)):
            own_ms = times_by_rows_ms(whole_ms, table, of, device.row_step)
            times_ms[index, place, : of + 1] = device.slowdown * own_ms
    return times_ms


def _encodings(
    model: Model, units: tuple[Unit, ...], heights: tuple[int, ...], offers: tuple[tuple[Encoding, ...], ...]
) -> CutEncodings:
    cuts = (0, *(unit.stop for unit in units))
    # A request is sent as it is.
    offered = [offers[cut] if cut else (Encoding(RAW, model.input_bytes),) for cut in cuts]
    row_bytes, whole_bytes, encode_ms, decode_ms = np.zeros((4, len(cuts), max(map(len, offered))))
    for place, (cut, height) in enumerate(zip(cuts, heights, strict=True)):
        rows = model.blocks[cut - 1].rows if cut else None
        given = None if rows is None else rows.bytes_per_row
        for number, each in enumerate(offered[place]):
            whole_bytes[place, number] = each.size_bytes / height
            row_bytes[place, number] = each.size_bytes / height if given is None or each.codec != RAW else given
            encode_ms[place, number] = each.encode_ms / height
            decode_ms[place, number] = each.decode_ms / height
    names = tuple(tuple(each.codec for each in own) for own in offered)
    take_time = bool(encode_ms.any() or decode_ms.any())
    return CutEncodings(names, row_bytes, whole_bytes, encode_ms, decode_ms, take_time)
