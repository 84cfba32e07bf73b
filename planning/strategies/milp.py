"""Exact joint plans for all streams: a mixed-integer linear programme over blocks, devices and encodings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import ClassVar

import numpy as np

from planning.cost.constraints import SLACK, memory_violations
from planning.problem.plan import Constraint, Infeasible, Plan, StreamPlan, Violation
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
from planning.search.infeasibility import diagnose, no_joint_plan, no_plan
from planning.search.milp_model import Programme, Solution
from planning.search.planning_context import PlanningContext, context_of
from planning.search.result import make_plan, same_route_for_all, unsupported
from planning.strategies.traits import ROUTE_OBJECTIVES, CostClass, Joint, Traits, Trial
from shared.policy import Objective

# Nodes of the search tree per second of time budget, for problems of EASY_SIZE variables or fewer.
NODES_PER_SECOND = 500

# Nodes of the search tree at any time budget; small problems are solved within them.
LEAST_NODES = 200

EASY_SIZE = 500

# Variables per second of time budget up to which a search is worthwhile; problems of EASY_SIZE variables always are.
VARIABLES_PER_SECOND = 1_000


@dataclass(frozen=True, slots=True)
class Milp:
    """One route per stream, all of them in one programme: memory and busy times that streams share are exact.

    Binary variables place block i of a stream on device d. Arcs between neighbouring blocks carry transfers, encodings
    and segment starts. Deadlines, memory (parameters plus the largest activation), the number of devices and the
    source rule are linear. For throughput the largest busy time is minimised. The search is exponential in the worst
    case, bounded by a node limit, and exact when it ends within it.

    Where streams of one model share memory, a segment that several of them use is held once. A first programme counts
    the parameters of a block once per device, whatever the segments: it has every plan, and more. If its result does
    not fit, a second one counts segments, with a variable for each. Its bound is then that of the first.

    With ``any_routes`` the objective is not considered. The routes are those of least latency, which shows whether any
    plan keeps the constraints: of a plan with several routes per stream, one of each is a plan, too.
    """

    traits: ClassVar[Traits] = Traits(
        objectives=ROUTE_OBJECTIVES, cost_class=CostClass.ONE_ROUTE_SEARCH, exact=True, joint=Joint.ON_A_FLEET
    )

    name: str = "milp"
    description: str = "all streams at once by mixed-integer programming: shared memory, joint throughput"
    citation: str = "this project; solver: Huangfu & Hall, HiGHS, Mathematical Programming Computation 10, 2018"
    trial: Trial | None = field(default=Trial(turn=20, objectives=ROUTE_OBJECTIVES))
    max_variables: int | None = None
    any_routes: bool = False

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the best joint plan."""
        objective = problem.policy.objective
        if objective not in ROUTE_OBJECTIVES and not self.any_routes:
            return unsupported(problem, self.name, f"objective {objective.value} is not linear")
        minimised = Objective.LATENCY if self.any_routes else objective
        context = context_of(problem, context)
        network = context.network
        size = sum(_variables(network, stream) for stream in problem.streams)
        limit = self.max_variables or max(EASY_SIZE, int(VARIABLES_PER_SECOND * time_budget_s))
        if size > limit:
            return unsupported(problem, self.name, f"about {size} variables, more than {limit} in its time")
        tables = [build_tables(problem, stream, network) for stream in problem.streams]
        # A stream without any route has a precise diagnosis; an infeasible programme has none.
        for entry in tables:
            if cheapest_path(latency_measure(entry)) is None:
                return no_plan(problem, self.name, diagnose(problem, entry.stream, time_budget_s), time_budget_s)
        nodes = LEAST_NODES + int(NODES_PER_SECOND * time_budget_s * min(1.0, EASY_SIZE / size))
        plans, solution = _solved(problem, minimised, tables, nodes, count_segments=False)
        bound = solution.bound
        if plans and memory_violations(problem, plans):
            plans, solution = _solved(problem, minimised, tables, nodes, count_segments=True)
            bound = max(bound, solution.bound) if plans else bound
        if not plans:
            if solution.proved:
                return no_joint_plan(problem, self.name, time_budget_s)
            reasons = (Violation(Constraint.SUPPORT, self.name, "no plan found within the time budget"),)
            return no_plan(problem, self.name, reasons, time_budget_s)
        if self.any_routes:
            return make_plan(problem, self.name, plans, costs=context.costs)
        return self._proved_plan(context, plans, bound, proved=solution.proved)

    def _proved_plan(
        self, context: PlanningContext, plans: dict[str, StreamPlan], bound: float, *, proved: bool
    ) -> Plan | Infeasible:
        problem = context.problem
        jobs = sum(stream.jobs for stream in problem.streams)
        objective = problem.policy.objective
        # For throughput, several routes side by side may serve the jobs of a stream better than its single route here.
        single = objective is not Objective.THROUGHPUT or jobs == len(problem.streams)
        known = bound if single and objective is not Objective.DEADLINE else None
        return make_plan(problem, self.name, plans, optimal=single and proved, lower_bound=known, costs=context.costs)


def _solved(
    problem: Problem, objective: Objective, tables: list[Tables], nodes: int, *, count_segments: bool
) -> tuple[dict[str, StreamPlan], Solution]:
    """Return the routes of the programme's solution, none if it has none, and the solution."""
    builder = _Builder(problem, objective)
    placed = [builder.add_stream(entry) for entry in tables]
    builder.share(placed, count_segments=count_segments)
    solution = builder.programme.solve(node_limit=nodes)
    plans: dict[str, StreamPlan] = {}
    if solution.values is not None:
        for own in placed:
            route = own.tables.route(*own.read(solution.values), 1)
            plans[own.tables.stream.name] = same_route_for_all(route, own.tables.stream.jobs)
    return plans, solution


def _variables(network: DeviceNetwork, stream: Stream) -> int:
    """Return about how many variables a stream takes, before its arrays are built."""
    ends = {stream.source} if stream.sink is None else {stream.source, stream.sink}
    nodes, offers = len(ends.union(network.able(stream.model))), network.offers(stream.model)
    return (len(offers) - 1) * max(map(len, offers)) * nodes**2


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
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


class _Builder:
    """Builds the programme stream by stream."""

    def __init__(self, problem: Problem, objective: Objective) -> None:
        self.programme = Programme()
        self._problem = problem
        self._objective = objective
        self._jobs = sum(stream.jobs for stream in problem.streams)

    def add_stream(self, tables: Tables) -> _Placed:
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
        placed = _Placed(tables, blocks, arcs, ends)
        self._flow(placed)
        self._deadline(placed, latency)
        self._max_devices(placed)
        return placed

    def share(self, placed: list[_Placed], *, count_segments: bool) -> None:
        """Add the constraints that all streams share: memory, and for throughput the bottleneck.

        Args:
            placed: the variables of all streams.
            count_segments: whether memory holds segments; otherwise it holds blocks, which is never more.
        """
        for name, device in self._problem.devices.items():
            if device.memory_bytes is not None:
                self._memory(placed, name, device.memory_bytes, count_segments=count_segments)
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
        if self._objective is Objective.THROUGHPUT:
            nothing = np.zeros(len(tables.nodes))
            return busy_measure(tables, nothing, nothing)
        return latency

    def _flow(self, placed: _Placed) -> None:
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

    def _deadline(self, placed: _Placed, latency: CostMeasure) -> None:
        deadline_ms = self._problem.deadline_ms(placed.tables.stream)
        if deadline_ms is not None:
            self.programme.restrict(_terms(placed, latency), -inf, deadline_ms * (1 + SLACK))

    def _max_devices(self, placed: _Placed) -> None:
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

    def _memory(self, placed: list[_Placed], name: str, limit: float, *, count_segments: bool) -> None:
        """Parameters on a device, plus a variable that is at least every activation, fit in ``limit``."""
        # Scaled to about 1, because the tolerances of the solver are absolute.
        scale = 1.0 / max(1.0, limit)
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
        self.programme.restrict(terms, -inf, limit * scale * (1 + SLACK))

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

    def _busy_terms(self, placed: _Placed, name: str, work: Work) -> list[tuple[int, float]]:
        """Return the busy time of one device at one kind of work, per job of the whole problem."""
        tables = placed.tables
        if name not in tables.nodes:
            return []
        own = (np.arange(len(tables.nodes)) == tables.nodes.index(name)).astype(float)
        nothing = np.zeros_like(own)
        measure = busy_measure(tables, own, nothing) if work is Work.COMPUTE else busy_measure(tables, nothing, own)
        share = tables.stream.jobs / self._jobs
        return [(variable, factor * share) for variable, factor in _terms(placed, measure) if factor]


def _terms(placed: _Placed, measure: CostMeasure) -> list[tuple[int, float]]:
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


# Tried by ``auto`` where no other strategy has a plan, for instance because streams share memory.
ANY_ROUTES = Milp(trial=Trial(turn=250, last_resort=True), any_routes=True)
