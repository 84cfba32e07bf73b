"""The mixed-integer programme of one route per stream: blocks on devices, transfers, and what streams share."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from planning.cost.constraints import SLACK
from planning.problem.plan import StreamPlan
from planning.problem.problem import Problem, Stream
from planning.queueing.operations import Work
from planning.search.arrays import Array
from planning.search.chain_path import cheapest_path
from planning.search.cost_tables import (
    CostMeasure,
    Tables,
    build_tables,
    busy_measure,
    energy_measure,
    latency_measure,
    off_source_measure,
)
from planning.search.device_network import DeviceNetwork
from planning.search.milp_model import Programme, Solution
from planning.search.result import same_route_for_all
from shared.policy import Objective

# Nodes of the search tree at any time budget; small problems are solved within them.
LEAST_NODES = 200

# Variables of a programme that is solved at any time budget.
EASY_SIZE = 500

# Coefficients of a programme for which a node takes its usual time.
USUAL_ENTRIES = 5_000


def least_memory_plan(problem: Problem) -> dict[str, StreamPlan] | None:
    """Return the routes that need the least memory in all beyond that of the devices, within all other constraints.

    None if there are no such routes, if the search ends without a proof, or if the problem is larger than EASY_SIZE.
    """
    # Arrays leave out what does not fit on a device by itself.
    devices = {name: replace(device, memory_bytes=None) for name, device in problem.devices.items()}
    roomy = replace(problem, devices=devices)
    network = DeviceNetwork(roomy)
    if sum(programme_size(network, stream) for stream in problem.streams) > EASY_SIZE:
        return None
    tables = [build_tables(roomy, stream, network) for stream in problem.streams]
    if any(cheapest_path(latency_measure(entry)) is None for entry in tables):
        return None
    plans, solution = solve_routes(problem, None, tables, LEAST_NODES, count_segments=True)
    return plans if plans and solution.proved else None


def solve_routes(
    problem: Problem, objective: Objective | None, tables: list[Tables], nodes: int, *, count_segments: bool
) -> tuple[dict[str, StreamPlan], Solution]:
    """Return the routes of the programme's solution, none if it has none, and the solution.

    Args:
        problem: the problem.
        objective: one of those of routes; None for the least memory beyond that of the devices.
        tables: the arrays of every stream.
        nodes: bound of the search tree, of a programme of USUAL_ENTRIES or fewer.
        count_segments: see `RouteProgramme.share`.
    """
    builder = RouteProgramme(problem, objective)
    placed = [builder.add_stream(entry) for entry in tables]
    builder.share(placed, count_segments=count_segments)
    # A node takes longer the larger the programme is, and one that counts segments may be ten times as large.
    size = max(1.0, len(builder.programme.entries) / USUAL_ENTRIES)
    solution = builder.programme.solve(node_limit=max(1, int(nodes / size**2)))
    plans: dict[str, StreamPlan] = {}
    if solution.values is not None:
        for own in placed:
            route = own.tables.route(*own.read(solution.values), 1)
            plans[own.tables.stream.name] = same_route_for_all(route, own.tables.stream.jobs)
    return plans, solution


def programme_size(network: DeviceNetwork, stream: Stream) -> int:
    """Return about how many variables a stream takes, before its arrays are built."""
    ends = {stream.source} if stream.sink is None else {stream.source, stream.sink}
    nodes, offers = len(ends.union(network.able(stream.model))), network.offers(stream.model)
    return (len(offers) - 1) * max(map(len, offers)) * nodes**2


def segment_entries(problem: Problem) -> int:
    """Return about how many coefficients the segments of models that several streams run take in a programme.

    A segment of a device with little memory has one for each of its blocks and streams.
    """
    limited = sum(device.memory_bytes is not None for device in problem.devices.values())
    users = Counter(stream.model for stream in problem.streams)
    shared = {name: count for name, count in users.items() if count > 1}
    return sum(limited * count * len(problem.models[name].blocks) ** 3 // 6 for name, count in shared.items())


@dataclass(frozen=True, slots=True, eq=False)
class PlacedStream:
    """The variables of one stream: blocks on nodes, arcs (cut, codec, from, to), and ends (codec, node)."""

    tables: Tables
    blocks: list[list[int]]
    arcs: dict[tuple[int, int, int, int], int]
    ends: dict[tuple[int, int], int]

    def read(self, values: Array) -> tuple[list[int], list[int]]:
        """Return the node of every block and the encoding at every cut after one."""
        devices = [
            int(np.argmax([values[variable] if variable >= 0 else -1 for variable in row])) for row in self.blocks
        ]
        codecs = [0] * self.tables.blocks
        for (cut, codec, sender, receiver), variable in self.arcs.items():
            # An arc next to a block that runs elsewhere may carry flow of no cost, so the blocks decide.
            if sender != receiver and values[variable] > 0.5 and devices[cut - 1 : cut + 1] == [sender, receiver]:
                codecs[cut - 1] = codec
        for (codec, node), variable in self.ends.items():
            if values[variable] > 0.5 and devices[-1] == node:
                codecs[-1] = codec
        return devices, codecs


class RouteProgramme:
    """Builds the programme stream by stream.

    Invariant: variables and rows are only added. `add_stream` comes first for every stream, then `share` once.
    """

    def __init__(self, problem: Problem, objective: Objective | None) -> None:
        """Start without streams; the programme minimises ``objective``, or without one the memory that is missing."""
        self.programme = Programme()
        self._problem = problem
        self._objective = objective
        self._jobs = sum(stream.jobs for stream in problem.streams)

    def add_stream(self, tables: Tables) -> PlacedStream:
        """Add placement, flow and the stream's own constraints."""
        programme, latency = self.programme, latency_measure(tables)
        cost, share = self._cost(tables, latency), tables.stream.jobs / self._jobs
        nodes, count = range(len(tables.nodes)), tables.blocks
        # With a single encoding, whole blocks force whole arcs. Parallel arcs could otherwise share the flow.
        several = latency.move.shape[1] > 1
        blocks = [[-1] * len(nodes) for _ in range(count)]
        for block in range(count):
            for node in nodes:
                first = latency.first[node] + latency.start[node] if block == 0 else 0.0
                if np.isfinite(latency.run[node, block] + first):
                    extra = cost.first[node] + cost.start[node] if block == 0 else 0.0
                    blocks[block][node] = programme.variable(share * (cost.run[node, block] + extra), integral=True)
            programme.restrict([(variable, 1.0) for variable in blocks[block] if variable >= 0], 1.0, 1.0)
        arcs: dict[tuple[int, int, int, int], int] = {}
        for cut in range(1, count):
            for sender in nodes:
                for receiver in nodes:
                    if blocks[cut - 1][sender] < 0 or blocks[cut][receiver] < 0:
                        continue
                    if sender == receiver:
                        arcs[cut, 0, sender, receiver] = programme.variable()
                        continue
                    for codec in np.flatnonzero(np.isfinite(latency.move[cut, :, sender, receiver])).tolist():
                        price = share * (cost.move[cut, codec, sender, receiver] + cost.start[receiver])
                        arcs[cut, codec, sender, receiver] = programme.variable(price, integral=several)
        ends: dict[tuple[int, int], int] = {}
        for codec, node in np.argwhere(np.isfinite(latency.finish)).tolist():
            if blocks[-1][node] >= 0:
                ends[codec, node] = programme.variable(share * cost.finish[codec, node], integral=several)
        placed = PlacedStream(tables, blocks, arcs, ends)
        self._flow(placed)
        self._deadline(placed, latency)
        self._max_devices(placed)
        return placed

    def share(self, placed: list[PlacedStream], *, count_segments: bool) -> None:
        """Add the constraints that all streams share: memory, and for throughput the bottleneck.

        Args:
            placed: the variables of all streams.
            count_segments: whether memory holds segments; otherwise it holds blocks, which is never more.
        """
        limits = {name: device.memory_bytes for name, device in self._problem.devices.items()}
        unit_bytes = max([1.0, *(limit for limit in limits.values() if limit is not None)])
        for name, limit in limits.items():
            if limit is not None:
                # Scaled to about 1, because the tolerances of the solver are absolute.
                scale = 1.0 / (unit_bytes if self._objective is None else max(1.0, limit))
                terms = self._memory(placed, name, scale, count_segments=count_segments)
                if self._objective is None:
                    terms.append((self.programme.variable(1.0, upper=inf), -1.0))
                self.programme.restrict(terms, -inf, limit * scale * (1 + SLACK))
        if self._objective is not Objective.THROUGHPUT:
            return
        bottleneck = self.programme.variable(1.0, upper=inf)
        for name in self._problem.devices:
            for work in Work:
                terms = [(bottleneck, -1.0)]
                for entry in placed:
                    terms += self._busy_terms(entry, name, work)
                # busy time - bottleneck <= 0; a resource that no stream can use needs no row.
                if len(terms) > 1:
                    self.programme.restrict(terms, -inf, 0.0)

    def _cost(self, tables: Tables, latency: CostMeasure) -> CostMeasure:
        if self._objective is Objective.ENERGY:
            return energy_measure(tables)
        if self._objective is Objective.DEADLINE:
            deadline_ms = self._problem.deadline_ms(tables.stream)
            return off_source_measure(tables, latency, deadline_ms)
        if self._objective in (None, Objective.THROUGHPUT):
            nothing = np.zeros(len(tables.nodes))
            return busy_measure(tables, nothing, nothing)
        return latency

    def _flow(self, placed: PlacedStream) -> None:
        """Tie arcs to the blocks at both ends."""
        for cut in range(1, placed.tables.blocks):
            for node, variable in enumerate(placed.blocks[cut - 1]):
                if variable >= 0:
                    leaving = [(arc, 1.0) for key, arc in placed.arcs.items() if key[0] == cut and key[2] == node]
                    self.programme.restrict([*leaving, (variable, -1.0)], 0.0, 0.0)
            for node, variable in enumerate(placed.blocks[cut]):
                if variable >= 0:
                    coming = [(arc, 1.0) for key, arc in placed.arcs.items() if key[0] == cut and key[3] == node]
                    self.programme.restrict([*coming, (variable, -1.0)], 0.0, 0.0)
        for node, variable in enumerate(placed.blocks[-1]):
            if variable >= 0:
                final = [(end, 1.0) for key, end in placed.ends.items() if key[1] == node]
                self.programme.restrict([*final, (variable, -1.0)], 0.0, 0.0)

    def _deadline(self, placed: PlacedStream, latency: CostMeasure) -> None:
        deadline_ms = self._problem.deadline_ms(placed.tables.stream)
        if deadline_ms is not None:
            self.programme.restrict(_terms(placed, latency), -inf, deadline_ms * (1 + SLACK))

    def _max_devices(self, placed: PlacedStream) -> None:
        most = self._problem.policy.max_devices
        if most is None:
            return
        # used[node] is 1 as soon as a block runs there.
        used = [self.programme.variable(integral=True) for _ in placed.tables.nodes]
        for row in placed.blocks:
            for node, variable in enumerate(row):
                if variable >= 0:
                    self.programme.restrict([(variable, 1.0), (used[node], -1.0)], -inf, 0.0)
        self.programme.restrict([(variable, 1.0) for variable in used], 0.0, float(most))

    def _memory(
        self, placed: list[PlacedStream], name: str, scale: float, *, count_segments: bool
    ) -> list[tuple[int, float]]:
        """Return the memory taken on a device, times ``scale``: parameters, and a variable above every activation."""
        largest = self.programme.variable(upper=inf)
        terms = [(largest, 1.0)]
        by_model: dict[str, list[list[int]]] = {}
        for entry in placed:
            if name not in entry.tables.nodes:
                continue
            node = entry.tables.nodes.index(name)
            own = [row[node] for row in entry.blocks]
            by_model.setdefault(entry.tables.stream.model, []).append(own)
            for block, variable in zip(self._problem.models[entry.tables.stream.model].blocks, own, strict=True):
                if variable >= 0:
                    self.programme.restrict([(variable, block.working_bytes * scale), (largest, -1.0)], -inf, 0.0)
        for model, users in by_model.items():
            parameters = [block.parameter_bytes * scale for block in self._problem.models[model].blocks]
            if len(users) == 1:
                terms += [pair for pair in zip(users[0], parameters, strict=True) if pair[0] >= 0]
            elif count_segments:
                terms += self._shared_segments(users, parameters)
            else:
                terms += self._shared_blocks(users, parameters)
        return terms

    def _shared_blocks(self, users: list[list[int]], parameters: Sequence[float]) -> list[tuple[int, float]]:
        """Return the parameters of the blocks of a model that some stream runs on a device.

        Args:
            users: per stream, the variables of its blocks on the device.
            parameters: size of every block's parameters.
        """
        terms = []
        for block, size in enumerate(parameters):
            held = self.programme.variable()
            terms.append((held, size))
            for own in users:
                if own[block] >= 0:
                    self.programme.restrict([(own[block], 1.0), (held, -1.0)], -inf, 0.0)
        return terms

    def _shared_segments(self, users: list[list[int]], parameters: Sequence[float]) -> list[tuple[int, float]]:
        """Return the parameters of the segments of a model that some stream runs on a device.

        A stream has the segment [i, j) if it runs blocks i to j - 1 there, and neither i - 1 nor j.

        Args:
            users: per stream, the variables of its blocks on the device.
            parameters: size of every block's parameters.
        """
        terms, count = [], len(parameters)
        for start in range(count):
            for stop in range(start + 1, count + 1):
                held = self.programme.variable()
                terms.append((held, sum(parameters[start:stop])))
                for own in users:
                    if any(variable < 0 for variable in own[start:stop]):
                        continue
                    beside = [own[at] for at in (start - 1, stop) if 0 <= at < count and own[at] >= 0]
                    inside = [(variable, 1.0) for variable in own[start:stop]]
                    outside = [(variable, -1.0) for variable in beside]
                    # 1 more than the blocks inside, less those outside, is a whole segment, which is then held.
                    self.programme.restrict([*inside, *outside, (held, -1.0)], -inf, float(stop - start - 1))
        return terms

    def _busy_terms(self, placed: PlacedStream, name: str, work: Work) -> list[tuple[int, float]]:
        """Return the busy time of one device at one kind of work, per job of the whole problem."""
        tables = placed.tables
        if name not in tables.nodes:
            return []
        own = (np.arange(len(tables.nodes)) == tables.nodes.index(name)).astype(float)
        nothing = np.zeros_like(own)
        measure = busy_measure(tables, own, nothing) if work is Work.COMPUTE else busy_measure(tables, nothing, own)
        share = tables.stream.jobs / self._jobs
        return [(variable, factor * share) for variable, factor in _terms(placed, measure) if factor]


def _terms(placed: PlacedStream, measure: CostMeasure) -> list[tuple[int, float]]:
    """Return a stream's measure as a linear sum."""
    terms: list[tuple[int, float]] = []
    for block, row in enumerate(placed.blocks):
        for node, variable in enumerate(row):
            if variable >= 0:
                first = measure.first[node] + measure.start[node] if block == 0 else 0.0
                terms.append((variable, float(measure.run[node, block] + first)))
    for (cut, codec, sender, receiver), variable in placed.arcs.items():
        if sender != receiver:
            terms.append((variable, float(measure.move[cut, codec, sender, receiver] + measure.start[receiver])))
    terms += [(variable, float(measure.finish[codec, node])) for (codec, node), variable in placed.ends.items()]
    return terms
