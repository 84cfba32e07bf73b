"""A stream's costs as arrays for the exact searches, by the definitions of the cost model.

Shapes: B blocks, E encodings (the most of any cut), D nodes. Cut i lies before block i; cut 0 has the input and cut B
the result.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from planning.cost.constraints import SLACK
from planning.problem.crossings import Encoding
from planning.problem.plan import Route, sequential_route
from planning.problem.problem import Device, Model, Problem, Stream
from planning.search.arrays import Array, Flags
from planning.search.device_network import DeviceNetwork
from shared.segment_memory import segment_memory_bytes


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """A stream's costs over its nodes: every device that may compute, its source and its sink.

    Attributes:
        stream: whose costs they are.
        nodes: [D] device names.
        run_ms: [D, B] time of each block under load; inf where it may not run or does not fit.
        start_ms: [D] overhead of a segment under load.
        codec_factor: [D] load factor / codec speed: time of encoding and decoding relative to speed 1.
        offers: [B + 1] the allowed encodings of every cut; the input travels raw.
        transfer_ms: [B + 1, E, D, D] from row to column. It is inf where there is no link or no such encoding, and on
            the diagonal.
        encode_ms, decode_ms: [B + 1, E] at speed 1.
        source: index of the source.
        sink: index of the sink; None if the result may stay where it is made.
        allowed_first: [D] whether the first block may run there.
        active_w: [D] power of computing above idle.
        tx_w, rx_w: [D] power of sending and of receiving.
    """

    stream: Stream
    nodes: tuple[str, ...]
    run_ms: Array
    start_ms: Array
    codec_factor: Array
    offers: tuple[tuple[Encoding, ...], ...]
    transfer_ms: Array
    encode_ms: Array
    decode_ms: Array
    source: int
    sink: int | None
    allowed_first: Flags
    active_w: Array
    tx_w: Array
    rx_w: Array

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return int(self.run_ms.shape[1])

    def route(self, devices: list[int], codecs: list[int], jobs: int) -> Route:
        """Return the route that runs block i on node ``devices[i]``.

        Args:
            devices: [B] node of every block, by index.
            codecs: [B] encoding at the cut after every block, by index; used only where something is sent.
            jobs: the number of jobs that take the route.
        """
        stages: list[tuple[int, int, str, str]] = []
        start = 0
        for stop in range(1, self.blocks + 1):
            if stop < self.blocks and devices[stop] == devices[start]:
                continue
            receiver = devices[stop] if stop < self.blocks else self.sink
            sends = receiver is not None and receiver != devices[start]
            codec = self.offers[stop][codecs[stop - 1]].codec if sends else "raw"
            stages.append((start, stop, self.nodes[devices[start]], codec))
            start = stop
        return sequential_route(stages, jobs)


@dataclass(frozen=True, slots=True, eq=False)
class CostMeasure:
    """An additive cost of a route, in any unit: ms, joules, or a weighted sum.

    The cost of a route is a sum: ``first`` of the first node, ``start`` of every segment, and ``run`` of every block.
    Then ``move`` of every cut at which the node changes, and ``finish`` of the last node.

    Attributes:
        first: [D] cost of the input's way to the device that runs the first block; inf where it may not.
        start: [D] cost of starting a segment.
        run: [D, B] cost of each block.
        move: [B + 1, E, D, D] cost of sending on at a cut, encoding and decoding included; inf where impossible.
        finish: [E, D] cost of the result's way to the sink; inf where there is none.
    """

    first: Array
    start: Array
    run: Array
    move: Array
    finish: Array


def build_tables(problem: Problem, stream: Stream, network: DeviceNetwork | None = None) -> Tables:
    """Return the arrays of one stream of ``problem``; O(B E D^2) time and memory. Streams can share ``network``."""
    network = network or DeviceNetwork(problem)
    return _tables(network, stream, network.able(stream.model))


def latency_tables(network: DeviceNetwork, stream: Stream) -> Tables:
    """Return the arrays of one stream without the devices that a route of least latency does not need."""
    return _tables(network, stream, network.useful(stream.model))


def table_size(network: DeviceNetwork, stream: Stream, devices: int) -> int:
    """Return the number of transfers that the arrays of a stream hold: cuts x encodings x devices squared."""
    offers = network.offers(stream.model)
    return len(offers) * max(len(offer) for offer in offers) * devices**2


def _tables(network: DeviceNetwork, stream: Stream, usable: Sequence[str]) -> Tables:
    problem = network.problem
    model = problem.models[stream.model]
    ends = [stream.source] if stream.sink is None else [stream.source, stream.sink]
    usable = tuple(dict.fromkeys([*usable, *(end for end in ends if network.can_run(end, stream.model))]))
    # Source and sink are nodes, last, even if they cannot run the model: they send the input and receive the result.
    nodes = tuple(dict.fromkeys([*usable, *ends]))
    source = nodes.index(stream.source)
    sink = None if stream.sink is None else nodes.index(stream.sink)
    first = np.full(len(nodes), True)
    if problem.policy.raw_input_stays_on_source:
        first = np.arange(len(nodes)) == source
    # Streams of one model over the same nodes differ in these three fields only.
    known = network.built.get((stream.model, nodes))
    if isinstance(known, Tables):
        return replace(known, stream=stream, source=source, sink=sink, allowed_first=first)
    profiles = [problem.devices[name] for name in nodes]
    run_ms = _run_ms(model, [profile.block_ms[stream.model] for profile in profiles[: len(usable)]], profiles)
    load = np.array([profile.slowdown for profile in profiles])
    latency_ms, per_byte_ms = network.matrices(nodes)
    offers = network.offers(stream.model)
    size, encode_ms, decode_ms, offered = encoding_arrays(offers)
    transfer_ms = latency_ms + size[:, :, None, None] * per_byte_ms
    transfer_ms[~offered] = np.inf
    tables = Tables(
        stream=stream,
        nodes=nodes,
        run_ms=run_ms * load[:, None],
        start_ms=load * np.array([profile.segment_overhead_ms for profile in profiles]),
        codec_factor=load / np.array([profile.codec_speed for profile in profiles]),
        offers=offers,
        transfer_ms=transfer_ms,
        encode_ms=encode_ms,
        decode_ms=decode_ms,
        source=source,
        sink=sink,
        allowed_first=first,
        active_w=np.array([profile.power_active_w - profile.power_idle_w for profile in profiles]),
        tx_w=np.array([profile.power_tx_w for profile in profiles]),
        rx_w=np.array([profile.power_rx_w for profile in profiles]),
    )
    network.built[stream.model, nodes] = tables
    return tables


def _run_ms(model: Model, block_ms: Sequence[Sequence[float]], profiles: Sequence[Device]) -> Array:
    """Return the time of every block on every node without load, [D, B]; inf where it may not run or does not fit.

    Args:
        model: the model.
        block_ms: times of the blocks on the nodes that can run it, which are the first ones.
        profiles: [D] all nodes.
    """
    run_ms = np.full((len(profiles), len(model.blocks)), np.inf)
    for index, times_ms in enumerate(block_ms):
        run_ms[index] = times_ms
        if (most := profiles[index].first_blocks) is not None:
            run_ms[index, most:] = np.inf
    if any(profile.memory_bytes is not None for profile in profiles):
        need_bytes = np.array(
            [segment_memory_bytes([block.parameter_bytes], [block.working_bytes]) for block in model.blocks]
        )
        for index, profile in enumerate(profiles):
            if (room := profile.memory_bytes) is not None:
                # A block that exceeds the memory by itself fits in no segment, so every search may skip it.
                run_ms[index, need_bytes > room + SLACK * max(1.0, room)] = np.inf
    return run_ms


def spans_ms(tables: Tables) -> Array:
    """Return the time in ms of blocks [i, j) on every node, the start of the segment included: [D, B, B + 1].

    inf where a block of the segment cannot run. Numbers for j <= i have no meaning.
    """
    nodes = len(tables.nodes)
    runs = np.isfinite(tables.run_ms)
    # Differences of prefix sums. Blocks that cannot run are counted apart, because inf - inf is no number.
    sums = np.concatenate([np.zeros((nodes, 1)), np.cumsum(np.where(runs, tables.run_ms, 0.0), axis=1)], axis=1)
    missing = np.concatenate([np.zeros((nodes, 1)), np.cumsum(~runs, axis=1)], axis=1)
    spans = sums[:, None, :] - sums[:, :-1, None]
    spans[missing[:, None, :] > missing[:, :-1, None]] = np.inf
    return np.asarray(spans + tables.start_ms[:, None, None])


def latency_measure(tables: Tables) -> CostMeasure:
    """Return the measure whose total is a route's latency, in ms."""
    ones = np.ones(len(tables.nodes))
    return _measure(tables, ones, np.ones((1, 1)))


def with_source(measure: CostMeasure, tables: Tables) -> CostMeasure:
    """Return ``measure`` for the source of ``tables``, which differ in nothing else from those of ``measure``."""
    return replace(measure, first=_first(measure.move, tables))


def energy_measure(tables: Tables) -> CostMeasure:
    """Return the measure whose total is a request's energy, in joules."""
    return _measure(tables, tables.active_w / 1000, (tables.tx_w[:, None] + tables.rx_w[None, :]) / 1000)


def busy_measure(tables: Tables, compute_weight: Array, send_weight: Array) -> CostMeasure:
    """Return the measure that weighs every ms of computing and of sending by the device that is busy.

    Args:
        tables: the stream's arrays.
        compute_weight: [D] cost per ms of computing.
        send_weight: [D] cost per ms of sending.
    """
    return _measure(tables, compute_weight, send_weight[:, None])


def off_source_measure(tables: Tables, latency: CostMeasure, deadline_ms: float | None = None) -> CostMeasure:
    """Return the measure that counts blocks off the source, ties broken by latency.

    The latency of a route weighs at most a quarter of a block, so that it never outweighs one.

    Args:
        tables: the stream's arrays.
        latency: its latency measure.
        deadline_ms: a latency that no route of interest exceeds; None if any route is.
    """
    slowest_ms = _slowest_ms(latency)
    weight = 0.25 / max(1e-300, slowest_ms if deadline_ms is None else min(slowest_ms, deadline_ms))
    away = (np.arange(len(tables.nodes)) != tables.source).astype(float)
    return CostMeasure(
        latency.first * weight,
        latency.start * weight,
        latency.run * weight + away[:, None],
        latency.move * weight,
        latency.finish * weight,
    )


def _slowest_ms(latency: CostMeasure) -> float:
    """Return a latency that no possible route exceeds: the sum of the largest time of every part, in ms."""
    parts = (latency.first[None], latency.run.T, latency.move[1:-1], latency.finish[None])
    slowest_ms = float(latency.start.max()) * len(latency.run.T)
    for part in parts:
        times_ms = np.where(np.isfinite(part), part, 0.0)
        slowest_ms += float(times_ms.max(axis=tuple(range(1, times_ms.ndim))).sum()) if times_ms.size else 0.0
    return slowest_ms


def _measure(tables: Tables, per_ms: Array, per_transfer_ms: Array) -> CostMeasure:
    """Return the measure with [D] cost per ms of computing, and [D, D] (or broadcast to it) per ms of sending."""
    weights = np.broadcast_to(per_transfer_ms, tables.transfer_ms.shape[2:])
    # A weight of 0 times an infinite time would be no number, so that impossible transfers are masked first.
    possible = np.isfinite(tables.transfer_ms)
    encode = tables.encode_ms[:, :, None, None] * (tables.codec_factor * per_ms)[:, None]
    decode = tables.decode_ms[:, :, None, None] * (tables.codec_factor * per_ms)[None, :]
    sent = np.where(possible, tables.transfer_ms, 0.0) * weights + encode + decode
    move = np.where(possible, sent, np.inf)
    first = _first(move, tables)
    finish = np.full((move.shape[1], len(tables.nodes)), np.inf)
    # Without a sink the result stays where it is, which encoding 0 stands for.
    finish[0] = 0.0
    if tables.sink is not None:
        finish = move[-1, :, :, tables.sink].copy()
        finish[:, tables.sink] = np.inf
        finish[0, tables.sink] = 0.0
    runs = np.isfinite(tables.run_ms)
    run = np.where(runs, np.where(runs, tables.run_ms, 0.0) * per_ms[:, None], np.inf)
    return CostMeasure(first, tables.start_ms * per_ms, run, move, finish)


def _first(move: Array, tables: Tables) -> Array:
    """Return the cost of the input's way from the source, [D]: raw, and free for the source itself."""
    first: Array = move[0, 0, tables.source].copy()
    first[tables.source] = 0.0
    first[~tables.allowed_first] = np.inf
    return first


def encoding_arrays(offers: Sequence[Sequence[Encoding]]) -> tuple[Array, Array, Array, Flags]:
    """Return size (bytes), encoding and decoding time at speed 1 (ms), and whether there is one; [B + 1, E] each.

    Args:
        offers: [B + 1] the allowed encodings of every cut, of any number each.
    """
    shape = len(offers), max(len(offer) for offer in offers)
    size, encode_ms, decode_ms = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    offered = np.zeros(shape, dtype=np.bool_)
    for cut, offer in enumerate(offers):
        for index, encoding in enumerate(offer):
            size[cut, index] = encoding.size_bytes
            encode_ms[cut, index] = encoding.encode_ms
            decode_ms[cut, index] = encoding.decode_ms
            offered[cut, index] = True
    return size, encode_ms, decode_ms, offered
