"""Every route with at most one cut between the source and one helper, as arrays: what the published scans look at."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
class SplitTable:
    """The routes of one stream: first the local one, then helper by helper, cut by cut, encoding by encoding.

    Attributes:
        offers: the allowed encodings at every cut.
        helpers: the devices that can help; helper -1 is the source itself.
        helper, cut, codec: [N] what each route is; ``codec`` is the index of the encoding among the allowed ones.
        source_ms: [N] what the source computes, encoding included; and decoding, where it is the sink.
        send_ms: [N] what the source sends.
        helper_ms: [N] what the helper computes, decoding and encoding included.
        blocks_ms: [N] of that, the blocks alone, with the start of the segment.
        return_ms: [N] what the helper sends.
        sink_ms: [N] what another sink decodes.
        energy_j: [N] energy of a request.
        in_time: [N] whether a route keeps the deadline.
        allowed: [N] whether it keeps all other constraints.
        latency_ms: [N] latency of a request that is alone.
        kept: [N] whether a route keeps all constraints, other streams left aside.
        made: routes that were asked for, by index.
        curves: what bursts make of the cuts, by server, once they have.
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
    kept: Flags
    made: dict[int, Route] = field(default_factory=dict)
    curves: dict[str, Any] = field(default_factory=dict)

    def name(self, index: int) -> str:
        """Return the helper of a route, or the source."""
        helper = int(self.helper[index])
        return self.stream.source if helper < 0 else self.helpers[helper]

    def route(self, index: int) -> Route:
        """Return a route."""
        found = self.made.get(index)
        if found is None:
            cut = int(self.cut[index])
            codec = self.offers[cut][int(self.codec[index])].codec if 0 < cut < len(self.offers) - 1 else None
            found = split_route(self.problem, self.stream, self.name(index), cut, codec, self.offers)
            self.made[index] = found
        return found


def split_table(problem: Problem, stream: Stream, network: DeviceNetwork | None = None) -> SplitTable:
    """Return the routes with at most one cut; O(D B E). With many streams, share ``network``."""
    network = network_of(problem, network)
    kind = kind_of(stream)
    found = network.cuts.get(kind)
    if not isinstance(found, SplitTable):
        found = network.cuts[kind] = _Builder(network, stream).build()
    return found if found.stream == stream else replace(found, stream=stream)


class _Builder:
    """Adds up what every route takes."""

    def __init__(self, network: DeviceNetwork, stream: Stream) -> None:
        self._network, self._stream = network, stream
        self._problem = network.problem
        self._model = self._problem.models[stream.model]
        self._blocks = len(self._model.blocks)
        self._offers = network.offers(stream.model)
        self._size, self._encode, self._decode, self._offered = encoding_arrays(self._offers)
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
        local = computes and self._returns(stream.source)
        cuts, codecs = np.nonzero(self._offered[: self._blocks])
        keep = (cuts > 0) | (codecs == 0)
        cuts, codecs = cuts[keep], codecs[keep]
        if not computes:
            cuts, codecs = cuts[:1] * 0, codecs[:1] * 0
        parts = [self._part(place, name, cuts, codecs) for place, name in enumerate(helpers)]
        if local:
            parts.insert(0, self._part(-1, stream.source, np.array([self._blocks]), np.array([0])))
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)] if parts else [np.empty(0)] * 11
        helper, cut, codec, source_ms, send_ms, helper_ms, blocks_ms, return_ms, sink_ms, energy_j, allowed = columns
        late = source_ms + send_ms + helper_ms + return_ms + sink_ms
        limit = problem.deadline_ms(stream)
        in_time = np.full(len(late), True)
        if limit is not None:
            in_time = late <= limit + SLACK * max(1.0, abs(limit))
        return SplitTable(
            problem,
            stream,
            self._offers,
            helpers,
            helper.astype(np.int64),
            cut.astype(np.int64),
            codec.astype(np.int64),
            source_ms,
            send_ms,
            helper_ms,
            blocks_ms,
            return_ms,
            sink_ms,
            energy_j,
            in_time,
            allowed.astype(np.bool_),
            late,
            in_time & allowed.astype(np.bool_),
        )

    def _returns(self, name: str) -> bool:
        sink = self._stream.sink
        return sink is None or sink == name or self._network.link(name, sink) is not None

    def _part(self, place: int, name: str, cuts: Index, codecs: Index) -> tuple[NDArray[Any], ...]:
        """Return the columns of one helper."""
        stream, devices = self._stream, self._problem.devices
        source, helper = devices[stream.source], devices[name]
        near = cuts > 0
        far = cuts < self._blocks
        inner = near & far
        before_ms = np.zeros(len(cuts))
        if near.any():
            before_ms = np.where(near, _span_ms(source, stream.model, self._blocks)[0][cuts], 0.0)
        blocks_ms = np.where(far, _span_ms(helper, stream.model, self._blocks)[1][cuts], 0.0)
        encode_ms = np.where(inner, self._encode[cuts, codecs], 0.0)
        decode_ms = np.where(inner, self._decode[cuts, codecs], 0.0)
        source_ms = before_ms + source.load_factor * encode_ms / source.codec_speed
        helper_ms = blocks_ms + helper.load_factor * decode_ms / helper.codec_speed
        send_ms = np.where(far, self._sent_ms(stream.source, name, self._size[cuts, codecs]), 0.0)
        return_ms, sink_ms = np.zeros(len(cuts)), np.zeros(len(cuts))
        energy_mj = np.zeros(len(cuts))
        if stream.sink is not None and stream.sink != name:
            last, sink = self._offers[self._blocks][0], devices[stream.sink]
            return_ms += self._sent_ms(name, stream.sink, np.array(last.size_bytes))
            coded_ms = helper.load_factor * last.encode_ms / helper.codec_speed
            if place < 0:
                source_ms = source_ms + coded_ms
            else:
                helper_ms = helper_ms + coded_ms
            decoded_ms = sink.load_factor * last.decode_ms / sink.codec_speed
            if stream.sink == stream.source:
                source_ms = source_ms + decoded_ms
            else:
                sink_ms += decoded_ms
            energy_mj += (helper.power_tx_w + sink.power_rx_w) * return_ms + _watts(sink) * sink_ms
        energy_mj += _watts(source) * source_ms + _watts(helper) * helper_ms
        energy_mj += (source.power_tx_w + helper.power_rx_w) * send_ms
        if place < 0:
            send_ms, return_ms = return_ms, send_ms
        allowed = self._allowed(source, helper, cuts)
        return (
            np.full(len(cuts), place),
            cuts,
            codecs,
            source_ms,
            send_ms,
            helper_ms,
            blocks_ms,
            return_ms,
            sink_ms,
            energy_mj / 1000,
            allowed,
        )

    def _sent_ms(self, sender: str, receiver: str, size_bytes: Array) -> Array:
        if sender == receiver:
            return np.zeros_like(size_bytes)
        link = self._network.link(sender, receiver)
        assert link is not None, "helpers are linked"
        return transfer_ms(size_bytes, link.latency_ms, link.bandwidth_mbps)

    def _allowed(self, source: Device, helper: Device, cuts: Index) -> Flags:
        """Say which cuts keep memory, raw input and the number of devices."""
        policy, blocks = self._problem.policy, self._blocks
        allowed = np.full(len(cuts), True)
        if policy.raw_input_stays_on_source:
            allowed &= cuts > 0
        if policy.max_devices is not None and policy.max_devices < 2:
            allowed &= (cuts == 0) | (cuts == blocks)
        if source.memory_bytes is not None:
            need = leading_memory_bytes(self._parameters, self._working)
            allowed &= ~_over(need[cuts], source.memory_bytes) | (cuts == 0)
        if helper.memory_bytes is not None:
            need = leading_memory_bytes(self._parameters[::-1], self._working[::-1])[::-1]
            allowed &= ~_over(need[cuts], helper.memory_bytes) | (cuts == blocks)
        return allowed


def leading_memory_bytes(parameter_bytes: Array, activation_bytes: Array) -> Array:
    """Return the memory of blocks [0, i), [B + 1], in bytes: `segment_memory_bytes` of all leading segments at once.

    Args:
        parameter_bytes: [B] of every block.
        activation_bytes: [B] largest activation of every block.
    """
    return np.array([0.0, *(parameter_bytes.cumsum() + np.maximum.accumulate(activation_bytes))])


def _span_ms(device: Device, model: str, blocks: int) -> tuple[Array, Array]:
    """Return the time of blocks [0, i) and [i, B) with the start of a segment, under load, [B + 1] each."""
    times = np.array(device.block_ms[model])
    head = np.array([0.0, *times.cumsum()])
    tail = np.array([*times[::-1].cumsum()[::-1], 0.0])
    overhead = device.segment_overhead_ms
    return device.load_factor * (head + overhead), device.load_factor * (tail + overhead)


def _over(need: Array, limit: float) -> Flags:
    return np.asarray(need > limit + SLACK * max(1.0, abs(limit)))


def _watts(device: Device) -> float:
    return device.power_active_w - device.power_idle_w


def cheapest_split(cuts: SplitTable, cost: Array) -> Route | None:
    """Return the route of least ``cost``, [N], that keeps the constraints; None if none does."""
    kept = np.flatnonzero(cuts.kept)
    return cuts.route(int(kept[cost[kept].argmin()])) if len(kept) else None
