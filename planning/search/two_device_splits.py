"""All routes with at most one cut between the source and one helper, as arrays.

These are the routes that Neurosurgeon, DADS, JPS and Kafetzis & Koutsopoulos choose among. B is the number of blocks, N
that of routes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from planning.cost.constraints import SLACK
from planning.problem.crossings import Encoding
from planning.problem.plan import Route
from planning.problem.problem import Device, Problem, Stream
from planning.search.arrays import Array, Flags, Index
from planning.search.cost_tables import encoding_arrays
from planning.search.device_network import DeviceNetwork, kind_of, network_of
from planning.search.simple_routes import split_route
from shared.link_time import transfer_ms


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """Consecutive rows of a `SplitTable`; [N] each, with the meaning that the table gives them."""

    helper: Index
    cut: Index
    codec: Index
    source_ms: Array
    send_ms: Array
    helper_ms: Array
    blocks_ms: Array
    return_ms: Array
    sink_ms: Array
    energy_j: Array
    allowed: Flags


@dataclass(frozen=True, slots=True, eq=False)
class SplitTable:
    """The routes of one stream: first the local one, then helper by helper, cut by cut, encoding by encoding.

    Attributes:
        problem: the problem.
        stream: whose routes they are.
        offers: [B + 1] the allowed encodings at every cut.
        helpers: the devices that can help. Helper -1 is the source itself. helper, cut, codec: [N] the indices of a
        route: helper, number of blocks at the source, encoding at the cut.
        source_ms: [N] computing of the source: blocks, encoding, and decoding of the result where it is the sink.
        send_ms: [N] sending of the source.
        helper_ms: [N] computing of the helper: decoding, blocks, and encoding of the result.
        blocks_ms: [N] of that the blocks, with the start of the segment.
        return_ms: [N] sending of the helper.
        sink_ms: [N] decoding of a sink other than the source.
        energy_j: [N] energy of a request.
        in_time: [N] whether a route keeps the deadline.
        allowed: [N] whether it keeps all other constraints.
        latency_ms: [N] latency of a request without queueing.
        feasible: [N] whether a route keeps all constraints, other streams left aside.
        made: cache of the routes that `route` has returned, by index.
        curves: cache of the bursts, by server; see `planning.scheduling.burst_planning`.
    """

    problem: Problem
    stream: Stream
    offers: tuple[tuple[Encoding, ...], ...]
    helpers: tuple[str, ...]
    helper: Index
    cut: Index
    codec: Index
    source_ms: Array
    send_ms: Array
    helper_ms: Array
    blocks_ms: Array
    return_ms: Array
    sink_ms: Array
    energy_j: Array
    in_time: Flags
    allowed: Flags
    latency_ms: Array
    feasible: Flags
    made: dict[int, Route] = field(default_factory=dict)
    curves: dict[str, Any] = field(default_factory=dict)

    def name(self, index: int) -> str:
        """Return the helper of a route, or the source."""
        helper = int(self.helper[index])
        return self.stream.source if helper < 0 else self.helpers[helper]

    def route(self, index: int) -> Route:
        """Return a route."""
        route = self.made.get(index)
        if route is None:
            cut = int(self.cut[index])
            codec = self.offers[cut][int(self.codec[index])].codec if 0 < cut < len(self.offers) - 1 else None
            route = split_route(self.problem, self.stream, self.name(index), cut, codec, self.offers)
            self.made[index] = route
        return route


def split_table(problem: Problem, stream: Stream, network: DeviceNetwork | None = None) -> SplitTable:
    """Return the routes with at most one cut; O(D B E). Streams can share ``network``, and with it their tables."""
    network = network_of(problem, network)
    kind = kind_of(stream)
    table = network.cuts.get(kind)
    if not isinstance(table, SplitTable):
        table = network.cuts[kind] = _Builder(network, stream).build()
    return table if table.stream == stream else replace(table, stream=stream)


def cheapest_split(cuts: SplitTable, cost: Array) -> Route | None:
    """Return the route of least ``cost``, [N], that keeps the constraints; None if none does."""
    feasible = np.flatnonzero(cuts.feasible)
    return cuts.route(int(feasible[cost[feasible].argmin()])) if len(feasible) else None


class _Builder:
    """Adds up the times and the energy of every route."""

    def __init__(self, network: DeviceNetwork, stream: Stream) -> None:
        self._network, self._stream = network, stream
        self._problem = network.problem
        self._model = self._problem.models[stream.model]
        self._blocks = len(self._model.blocks)
        self._offers = network.offers(stream.model)
        self._size_bytes, self._encode_ms, self._decode_ms, self._offered = encoding_arrays(self._offers)
        self._parameters = np.array([block.parameter_bytes for block in self._model.blocks])
        self._working = np.array([block.working_bytes for block in self._model.blocks])

    def build(self) -> SplitTable:
        stream, problem, network = self._stream, self._problem, self._network
        computes = network.can_run(stream.source, stream.model)
        helpers = tuple(
            name
            for name in network.neighbours(stream.source)
            if network.can_run(name, stream.model) and self._returns(name)
        )
        # Without cut B, which is the local route and has a single row of its own.
        cuts, codecs = np.nonzero(self._offered[: self._blocks])
        # The input travels raw, and a source that cannot run the model sends nothing else.
        keep = (cuts > 0) & computes | (cuts == 0) & (codecs == 0)
        cuts, codecs = cuts[keep], codecs[keep]
        parts = [self._helper_columns(place, name, cuts, codecs) for place, name in enumerate(helpers)]
        if computes and self._returns(stream.source):
            parts.insert(0, self._local_columns())
        columns = _joined(parts)
        latency_ms = columns.source_ms + columns.send_ms + columns.helper_ms + columns.return_ms + columns.sink_ms
        deadline_ms = problem.deadline_ms(stream)
        in_time = np.full(len(latency_ms), True) if deadline_ms is None else ~_over(latency_ms, deadline_ms)
        return SplitTable(
            problem,
            stream,
            self._offers,
            helpers,
            in_time=in_time,
            latency_ms=latency_ms,
            feasible=in_time & columns.allowed,
            **{entry.name: getattr(columns, entry.name) for entry in fields(columns)},
        )

    def _returns(self, name: str) -> bool:
        """Return whether a result of device ``name`` can reach the sink."""
        sink = self._stream.sink
        return sink is None or sink == name or self._network.link(name, sink) is not None

    def _local_columns(self) -> _Columns:
        """Return the row of the local route."""
        stream, source = self._stream, self._problem.devices[self._stream.source]
        source_ms = np.array([self._span_ms(source)[0][-1]])
        send_ms, encode_ms, sink_ms = self._result_ms(stream.source)
        source_ms += encode_ms
        energy_mj = self._result_mj(stream.source, send_ms, sink_ms) + _watts(source) * source_ms
        none, cut = np.zeros(1), np.array([self._blocks])
        return _Columns(
            helper=np.array([-1]),
            cut=cut,
            codec=np.array([0]),
            source_ms=source_ms,
            send_ms=none + send_ms,
            helper_ms=none,
            blocks_ms=none,
            return_ms=none,
            sink_ms=none + sink_ms,
            energy_j=energy_mj / 1000,
            allowed=self._allowed(source, source, cut),
        )

    def _helper_columns(self, place: int, name: str, cuts: Index, codecs: Index) -> _Columns:
        """Return the rows of one helper: a route per cut and encoding, [N] each."""
        stream, devices = self._stream, self._problem.devices
        source, helper = devices[stream.source], devices[name]
        # A cut of 0 leaves no block, and so no start of a segment, at the source.
        near = cuts > 0
        before_ms = np.where(near, self._span_ms(source)[0][cuts], 0.0) if near.any() else np.zeros(len(cuts))
        encode_ms = np.where(near, self._encode_ms[cuts, codecs], 0.0)
        decode_ms = np.where(near, self._decode_ms[cuts, codecs], 0.0)
        source_ms = before_ms + source.slowdown * encode_ms / source.codec_speed
        blocks_ms = self._span_ms(helper)[1][cuts]
        helper_ms = blocks_ms + helper.slowdown * decode_ms / helper.codec_speed
        send_ms = self._transfer_ms(stream.source, name, self._size_bytes[cuts, codecs])
        return_ms, result_encode_ms, result_decode_ms = self._result_ms(name)
        helper_ms = helper_ms + result_encode_ms
        sink_ms = np.zeros(len(cuts))
        if stream.sink == stream.source:
            source_ms = source_ms + result_decode_ms
        else:
            sink_ms += result_decode_ms
        energy_mj = self._result_mj(name, return_ms, sink_ms) + (
            _watts(source) * source_ms + _watts(helper) * helper_ms
        )
        energy_mj += (source.power_tx_w + helper.power_rx_w) * send_ms
        return _Columns(
            helper=np.full(len(cuts), place),
            cut=cuts,
            codec=codecs,
            source_ms=source_ms,
            send_ms=send_ms,
            helper_ms=helper_ms,
            blocks_ms=blocks_ms,
            return_ms=np.full(len(cuts), return_ms),
            sink_ms=sink_ms,
            energy_j=energy_mj / 1000,
            allowed=self._allowed(source, helper, cuts),
        )

    def _result_ms(self, last: str) -> tuple[float, float, float]:
        """Return how long device ``last`` sends and encodes the result, and the sink decodes it; all 0 if it stays."""
        sink_name = self._stream.sink
        if sink_name is None or sink_name == last:
            return 0.0, 0.0, 0.0
        result, sender, sink = (
            self._offers[self._blocks][0],
            self._problem.devices[last],
            self._problem.devices[sink_name],
        )
        return (
            float(self._transfer_ms(last, sink_name, np.array(result.size_bytes))),
            sender.slowdown * result.encode_ms / sender.codec_speed,
            sink.slowdown * result.decode_ms / sink.codec_speed,
        )

    def _result_mj(self, last: str, send_ms: float, sink_ms: Array | float) -> Array:
        """Return the energy of the result's way to the sink, in mJ; computing of ``last`` excluded."""
        if self._stream.sink is None or self._stream.sink == last:
            return np.zeros(1)
        sender, sink = self._problem.devices[last], self._problem.devices[self._stream.sink]
        return np.asarray((sender.power_tx_w + sink.power_rx_w) * send_ms + _watts(sink) * np.asarray(sink_ms))

    def _transfer_ms(self, sender: str, receiver: str, size_bytes: Array) -> Array:
        link = self._network.link(sender, receiver)
        assert link is not None, "helpers are linked"
        return transfer_ms(size_bytes, link.latency_ms, link.bandwidth_mbps)

    def _span_ms(self, device: Device) -> tuple[Array, Array]:
        """Return the time of blocks [0, i) and of [i, B) with the start of a segment, under load, [B + 1] each."""
        times = np.array(device.block_ms[self._stream.model])
        head = np.array([0.0, *times.cumsum()])
        tail = np.array([*times[::-1].cumsum()[::-1], 0.0])
        overhead = device.segment_overhead_ms
        return device.slowdown * (head + overhead), device.slowdown * (tail + overhead)

    def _allowed(self, source: Device, helper: Device, cuts: Index) -> Flags:
        """Return which cuts keep memory, raw input and the number of devices, [N]."""
        policy, blocks = self._problem.policy, self._blocks
        allowed = np.full(len(cuts), True)
        if policy.raw_input_stays_on_source:
            allowed &= cuts > 0
        if policy.max_devices is not None and policy.max_devices < 2:
            allowed &= (cuts == 0) | (cuts == blocks)
        if source.first_blocks is not None:
            allowed &= cuts <= source.first_blocks
        if helper.first_blocks is not None:
            allowed &= (cuts == blocks) | (blocks <= helper.first_blocks)
        if source.memory_bytes is not None:
            need = leading_memory_bytes(self._parameters, self._working)
            allowed &= ~_over(need[cuts], source.memory_bytes) | (cuts == 0)
        if helper.memory_bytes is not None:
            # Reversed twice: entry i is the memory of blocks [i, B).
            need = leading_memory_bytes(self._parameters[::-1], self._working[::-1])[::-1]
            allowed &= ~_over(need[cuts], helper.memory_bytes) | (cuts == blocks)
        return allowed


def _joined(parts: Sequence[_Columns]) -> _Columns:
    """Return the rows of all parts, one after the other."""
    if not parts:
        none, times = np.zeros(0, dtype=np.int64), np.zeros(0)
        return _Columns(none, none, none, times, times, times, times, times, times, times, np.zeros(0, dtype=np.bool_))
    return _Columns(*(np.concatenate([getattr(part, entry.name) for part in parts]) for entry in fields(_Columns)))


def leading_memory_bytes(parameter_bytes: Array, activation_bytes: Array) -> Array:
    """Return the memory of blocks [0, i), [B + 1], in bytes: `segment_memory_bytes` of all leading segments.

    Args:
        parameter_bytes: [B] of every block.
        activation_bytes: [B] largest activation of every block.
    """
    return np.array([0.0, *(parameter_bytes.cumsum() + np.maximum.accumulate(activation_bytes))])


def _over(need: Array, limit: float) -> Flags:
    """Return which numbers exceed a limit by more than rounding."""
    return np.asarray(need > limit + SLACK * max(1.0, abs(limit)))


def _watts(device: Device) -> float:
    """Return the power of computing above idle."""
    return device.power_active_w - device.power_idle_w
