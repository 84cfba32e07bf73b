"""Routes of one stream in the compact form of a local search: a node and an encoding per block, and their steps."""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf

import numpy as np

from planning.cost.constraints import exceeds
from planning.problem.plan import Route
from planning.problem.problem import Problem
from planning.queueing.numbered_queues import Steps
from planning.search.arrays import Array
from planning.search.chain_path import cost_to_go, follow_path
from planning.search.cost_tables import Tables, busy_measure


@dataclass(frozen=True, slots=True, eq=False)
class RouteForm:
    """A route that keeps the constraints of its stream. Equal routes of a stream are one object.

    Attributes:
        nodes: [B] node of every block, by index.
        codecs: [B] encoding at the cut after every block, by index; 0 where nothing is sent.
        steps: servers and times of its operations. Server 2 d is the processor of device d of the problem, by index,
            and server 2 d + 1 its sending.
        latency_ms: sum of the times.
        energy_j: energy of a request above idling.
        off_source: blocks off the source.
        segments: device, start and stop of every segment.
        is_timed: whether every step takes some time.
    """

    nodes: tuple[int, ...]
    codecs: tuple[int, ...]
    steps: Steps
    latency_ms: float
    energy_j: float
    off_source: int
    segments: tuple[tuple[int, int, int], ...]
    is_timed: bool


class NodeTimes:
    """The times of a stream's tables as lists, which are quicker to read one by one. Streams of one model share them.

    Attributes:
        start_ms, factor: [D] overhead of a segment, and time of encoding relative to speed 1.
        transfer_ms: [B + 1][E][D][D], as in `Tables`.
        encode_ms, decode_ms: [B + 1][E] at speed 1.
        quickest: [B + 1][D][D] the quickest encoding of a cut by sender and receiver.
        able: nodes that can run some block.
    """

    def __init__(self, tables: Tables) -> None:
        """Read ``tables``, but not the fields in which streams of one model differ."""
        runs = np.isfinite(tables.run_ms)
        self.able: list[int] = np.flatnonzero(runs.any(axis=1)).tolist()
        self._sums: list[list[float]] = [
            list(accumulate(row, initial=0.0)) for row in np.where(runs, tables.run_ms, 0.0).tolist()
        ]
        self._missing = [list(accumulate(row, initial=0)) for row in (~runs).astype(int).tolist()]
        self.start_ms: list[float] = tables.start_ms.tolist()
        self.factor: list[float] = tables.codec_factor.tolist()
        self.transfer_ms: list[list[list[list[float]]]] = tables.transfer_ms.tolist()
        self.encode_ms: list[list[float]] = tables.encode_ms.tolist()
        self.decode_ms: list[list[float]] = tables.decode_ms.tolist()
        coding = tables.encode_ms[:, :, None, None] * tables.codec_factor[:, None]
        coding = coding + tables.decode_ms[:, :, None, None] * tables.codec_factor[None, :]
        self.quickest: list[list[list[int]]] = (tables.transfer_ms + coding).argmin(axis=1).tolist()

    def segment_ms(self, node: int, start: int, stop: int) -> float:
        """Return the time of blocks [start, stop) on a node, overhead included; inf where one cannot run."""
        if self._missing[node][stop] > self._missing[node][start]:
            return inf
        sums = self._sums[node]
        return self.start_ms[node] + sums[stop] - sums[start]


class RouteForms:
    """The routes of one stream. Each is examined once.

    Attributes:
        tables: the stream's arrays.
        times: the same as lists.
        blocks: number of blocks.
        device: [D] device of every node, by its index in the problem.
        servers: number of servers, two per device of the problem.
    """

    def __init__(self, problem: Problem, tables: Tables, times: NodeTimes | None = None) -> None:
        """Take ``times`` of a stream of the same model over the same nodes, or make them."""
        self.tables = tables
        self.times = times or NodeTimes(tables)
        self.blocks = tables.blocks
        places = {name: place for place, name in enumerate(problem.devices)}
        self.device = [places[name] for name in tables.nodes]
        self.servers = 2 * len(places)
        # Watts of computing by node, and of sending by sender and receiver.
        self._active_w: list[float] = tables.active_w.tolist()
        self._sending_w: list[list[float]] = (tables.tx_w[:, None] + tables.rx_w[None, :]).tolist()
        self._deadline_ms = problem.deadline_ms(tables.stream)
        self._max_devices = problem.policy.max_devices
        self._known: dict[tuple[tuple[int, ...], tuple[int, ...]], RouteForm | None] = {}
        # Ascending, with the number of the route, by which equal latencies are told apart.
        self._by_latency: list[tuple[float, int, RouteForm]] = []

    def receiver(self, nodes: Sequence[int], block: int) -> int:
        """Return the node that gets the output of a block; it is the block's own if nothing is sent."""
        if block + 1 < self.blocks:
            return nodes[block + 1]
        return nodes[block] if self.tables.sink is None else self.tables.sink

    def over(self, nodes: Sequence[int], like: RouteForm | None = None) -> RouteForm | None:
        """Return the route over these nodes, or None if it breaks a constraint.

        It sends in the encodings of ``like`` where that sends between the same nodes, elsewhere and without it in the
        quickest ones.
        """
        codecs = [0] * self.blocks
        last = self.blocks - 1
        for block, here in enumerate(nodes):
            there = nodes[block + 1] if block < last else self.receiver(nodes, block)
            if there == here:
                continue
            if like is not None and like.nodes[block] == here and self.receiver(like.nodes, block) == there:
                codecs[block] = like.codecs[block]
            else:
                codecs[block] = self.times.quickest[block + 1][here][there]
        return self.form(tuple(nodes), tuple(codecs))

    def form(self, nodes: tuple[int, ...], codecs: tuple[int, ...]) -> RouteForm | None:
        """Return the route with these nodes and encodings, or None if it breaks a constraint of the stream alone."""
        key = nodes, codecs
        if key not in self._known:
            form = self._known[key] = self._examined(nodes, codecs)
            if form is not None:
                insort(self._by_latency, (form.latency_ms, len(self._by_latency), form))
        return self._known[key]

    def nearest(self, latency_ms: float, away: int) -> RouteForm:
        """Return the known route whose latency comes ``away`` places after ``latency_ms``, before it if negative.

        Raises:
            IndexError: if no route is known.
        """
        place = bisect_left(self._by_latency, (latency_ms,)) + away
        return self._by_latency[max(0, min(place, len(self._by_latency) - 1))][2]

    def of_route(self, route: Route) -> RouteForm | None:
        """Return the form of a route, or None if it has tiles or breaks a constraint."""
        places = {name: place for place, name in enumerate(self.tables.nodes)}
        if route.tiled or any(device not in places for device in route.devices):
            return None
        nodes: list[int] = []
        codecs = [0] * self.blocks
        for stage in route.stages:
            nodes += [places[stage.device]] * (stage.stop - stage.start)
            offered = [encoding.codec for encoding in self.tables.offers[stage.stop]]
            codecs[stage.stop - 1] = offered.index(stage.codec) if stage.codec in offered else 0
        return self.form(tuple(nodes), self._used(nodes, codecs))

    def route(self, form: RouteForm) -> Route:
        """Return the route of a form."""
        return self.tables.route(list(form.nodes), list(form.codecs), 1)

    def cheapest(self, per_ms: Array) -> RouteForm | None:
        """Return the route of least weighted busy time, or None if there is none or it breaks a constraint.

        Args:
            per_ms: [2 N] cost per ms at every server of the problem's N devices.
        """
        device = np.array(self.device)
        measure = busy_measure(self.tables, per_ms[2 * device], per_ms[2 * device + 1])
        path = follow_path(measure, cost_to_go(measure), measure.first)
        return None if path is None else self.form(tuple(path.devices), self._used(path.devices, path.codecs))

    def _used(self, nodes: Sequence[int], codecs: Sequence[int]) -> tuple[int, ...]:
        """Return the encodings with 0 where nothing is sent."""
        return tuple(
            0 if self.receiver(nodes, block) == nodes[block] else codecs[block] for block in range(self.blocks)
        )

    def _examined(self, nodes: tuple[int, ...], codecs: tuple[int, ...]) -> RouteForm | None:
        segments = self._segments(nodes)
        timed = self._timed(nodes, codecs, segments)
        if timed is None:
            return None
        steps, energy_mj = timed
        latency_ms = sum(time_ms for _, time_ms in steps)
        if self._deadline_ms is not None and exceeds(latency_ms, self._deadline_ms):
            return None
        if self._max_devices is not None and len({node for node, _, _ in segments}) > self._max_devices:
            return None
        off_source = sum(stop - start for node, start, stop in segments if node != self.tables.source)
        placed = tuple((self.device[node], start, stop) for node, start, stop in segments)
        is_timed = all(time_ms > 0 for _, time_ms in steps)
        return RouteForm(nodes, codecs, tuple(steps), latency_ms, energy_mj / 1000, off_source, placed, is_timed)

    def _segments(self, nodes: Sequence[int]) -> list[tuple[int, int, int]]:
        """Return node, start and stop of every run of blocks on one node."""
        segments: list[tuple[int, int, int]] = []
        start = 0
        for stop in range(1, self.blocks + 1):
            if stop == self.blocks or nodes[stop] != nodes[start]:
                segments.append((nodes[start], start, stop))
                start = stop
        return segments

    def _timed(
        self, nodes: Sequence[int], codecs: Sequence[int], segments: Sequence[tuple[int, int, int]]
    ) -> tuple[list[tuple[int, float]], float] | None:
        """Return the steps of a route and its energy in mJ, by `RouteCostModel.operations`; None if it cannot run."""
        tables, times, device = self.tables, self.times, self.device
        source, first = tables.source, nodes[0]
        if not tables.allowed_first[first]:
            return None
        steps: list[tuple[int, float]] = []
        energy_mj = decode_ms = 0.0
        if first != source:
            sent_ms = times.transfer_ms[0][0][source][first]
            steps.append((2 * device[source] + 1, sent_ms))
            energy_mj += self._sending_w[source][first] * sent_ms
        for here, start, stop in segments:
            work_ms = times.segment_ms(here, start, stop) + decode_ms
            there = self.receiver(nodes, stop - 1)
            decode_ms = 0.0
            if there != here:
                codec = codecs[stop - 1]
                work_ms += times.encode_ms[stop][codec] * times.factor[here]
                decode_ms = times.decode_ms[stop][codec] * times.factor[there]
            steps.append((2 * device[here], work_ms))
            energy_mj += self._active_w[here] * work_ms
            if there != here:
                sent_ms = times.transfer_ms[stop][codec][here][there]
                steps.append((2 * device[here] + 1, sent_ms))
                energy_mj += self._sending_w[here][there] * sent_ms
        if decode_ms and tables.sink is not None:
            steps.append((2 * device[tables.sink], decode_ms))
            energy_mj += self._active_w[tables.sink] * decode_ms
        if any(time_ms == inf for _, time_ms in steps):
            return None
        return steps, energy_mj
