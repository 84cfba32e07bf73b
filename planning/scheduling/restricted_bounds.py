"""Lower bounds that only count the routes which a plan of a given cost can use.

Let R(T) contain every route of every plan of cost T or less, and let F(T) be a lower bound of the cost of all plans
whose routes are among R(T). Then min(T, F(T)) is a lower bound of the cost of all plans: a plan that costs at most T
takes routes of R(T) only, so that it costs at least F(T), and every other plan costs more than T. This holds for every
T. As T falls, F(T) rises, because fewer routes are left. The best T is found by bisection. (Lenstra, Shmoys & Tardos,
Mathematical Programming 46, 1990, bound the makespan of unrelated machines in this way.)

R(T) is, for a stream s:

- makespan: routes of latency T at most, because a job ends no earlier than its latency.
- total delay: routes of latency at most T less the least latencies of all other jobs.
- throughput, with T in ms of all jobs together: routes without a block or a transfer that takes longer than T.

In every case routes longer than the deadline of s are left out, too. F(T) is the bound of `burst_bounds` over R(T). Its
multipliers come from a linear programme like that of `column_generation`, with the idle times of the bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from planning.cost.constraints import SLACK
from planning.cost.cost_model import CostModel
from planning.problem.plan import Route
from planning.problem.problem import Problem
from planning.queueing.operations import Resource, Work
from planning.scheduling.burst_bounds import idle_ms
from planning.scheduling.column_generation import pricing_size, smoothed
from planning.search.arrays import Array
from planning.search.chain_path import cost_to_go, follow_path
from planning.search.cost_tables import Tables, build_tables, busy_measure, latency_measure
from planning.search.device_network import DeviceNetwork
from planning.search.linear_programme import solve_linear
from planning.search.restricted_tables import within_busy_time, within_latency
from planning.search.result import proves
from planning.search.tiled_bounds import may_split, sends_overlap
from shared.policy import Objective

# Objectives with such a bound.
OBJECTIVES = frozenset({Objective.THROUGHPUT, Objective.MAKESPAN, Objective.TOTAL_DELAY})

# Routes that may be priced per second of time budget, by `pricing_size`.
PRICED_PER_SECOND = 500

# Largest number of jobs, and of streams per second of time budget.
MAX_JOBS = 2_000
STREAMS_PER_SECOND = 40

# Rounds of pricing for one T.
_ROUNDS = 40

# The bisection ends when the interval is this narrow, relative to the cost.
_WIDTH = 1e-3

# After so many rounds that raise the bound by less than this share, the next T is tried.
_STALLED_ROUNDS, _MIN_RISE = 4, 1e-4


def raised_bound(
    network: DeviceNetwork, costs: CostModel, known: float | None, cost: float, time_budget_s: float
) -> float | None:
    """Return a bound for the objective of a problem that is at least ``known``, where there is one.

    Args:
        network: the problem's devices, links and encodings.
        costs: the cost model of the problem.
        known: a proved bound; None if there is none.
        cost: the cost of a plan. The search ends when the bound reaches it.
        time_budget_s: roughly how long all of the planning may last. A part of it is spent here.
    """
    problem = network.problem
    jobs = sum(stream.jobs for stream in problem.streams)
    small = jobs <= MAX_JOBS and len(problem.streams) <= STREAMS_PER_SECOND * time_budget_s
    if problem.policy.objective not in OBJECTIVES or not small or proves(known, cost):
        return known
    # Stages that are split into tiles are no routes of the linear programme, and it adds up what a device sends.
    if may_split(problem) or sends_overlap(problem):
        return known
    tables = [build_tables(problem, stream, network) for stream in problem.streams]
    return restricted_bound(problem, tables, costs, known=known or 0.0, cost=cost, time_budget_s=time_budget_s)


def restricted_bound(
    problem: Problem,
    tables: Sequence[Tables],
    costs: CostModel,
    *,
    known: float,
    cost: float,
    time_budget_s: float,
) -> float:
    """Return a lower bound of the objective over all plans, at least ``known``.

    Args:
        problem: the problem; its objective is one of OBJECTIVES.
        tables: the arrays of every stream.
        costs: the cost model of the problem.
        known: a proved bound.
        cost: the cost of a plan. The search ends when the bound reaches it.
        time_budget_s: for the pricing of routes. It is converted to a number of routes.
    """
    jobs = sum(entry.stream.jobs for entry in tables)
    # The bottleneck of all jobs together.
    scale = jobs if problem.policy.objective is Objective.THROUGHPUT else 1
    search = _Search(problem, tables, costs, int(PRICED_PER_SECOND * time_budget_s))
    low, high, target = known * scale, cost * scale, cost * scale
    while search.routes_left > 0 and not proves(low, cost * scale) and high - low > _WIDTH * cost * scale:
        # Values between ``low`` and ``target`` are what the search of F(target) may add.
        bound = min(target, search.value(target, low))
        low = max(low, bound)
        if bound < target:
            high = target
        target = (low + high) / 2
    return max(known, low / scale)


@dataclass(frozen=True, slots=True, eq=False)
class _Restricted:
    """R(T) as arrays.

    Attributes:
        tables: the arrays of the distinct kinds of streams.
        kind: the kind of every stream.
        jobs: jobs of every stream.
        latency_ms: [K] the jobs' least latencies, ascending.
        idle: before(r) + after(r) of every resource, in ms; see `burst_bounds`.
    """

    tables: Sequence[Tables]
    kind: Sequence[int]
    jobs: Sequence[int]
    latency_ms: Array
    idle: dict[Resource, float]


class _Search:
    """F(T) for one T after the other. Columns and multipliers of earlier T are the beginning of the next."""

    def __init__(self, problem: Problem, tables: Sequence[Tables], costs: CostModel, routes: int) -> None:
        self._problem, self._tables, self._costs = problem, tables, costs
        self._objective = problem.policy.objective
        self._jobs = [entry.stream.jobs for entry in tables]
        self._places: dict[Resource, int] = {
            resource: place for place, resource in enumerate((name, work) for name in problem.devices for work in Work)
        }
        # Busy times, [R], and the least T known with the route in R(T).
        self._columns: dict[tuple[int, Route], tuple[Array, float]] = {}
        self._cost = inf
        self.routes_left = int(routes / pricing_size(tables))
        self._least_ms = [_least_latency_ms(entry) for entry in tables]
        self._total_latency_ms = sum(jobs * least_ms for jobs, least_ms in zip(self._jobs, self._least_ms, strict=True))
        self._weights: list[Array] = [np.full(len(self._places), 1 / len(self._places))]

    def value(self, cost: float, low: float) -> float:
        """Return F(``cost``), or a lower value once ``cost`` is reached or ``low`` is out of reach."""
        self._cost = cost
        restricted = self._restricted(cost)
        if restricted is None:
            return inf
        best, ends_ms = 0.0, restricted.latency_ms.copy()
        # Of every number k of jobs: the largest bound of t(k), and its multipliers.
        leaders: dict[int, tuple[float, Array]] = {}
        idle = np.array([restricted.idle.get(resource, 0.0) for resource in self._places])
        pending = self._weights
        targets = self._targets()
        stalled = 0
        for turn in range(_ROUNDS):
            before = best
            for weights in pending:
                values = self._price(restricted, weights)
                own_ms = _ends_ms(restricted, values, weights, idle)
                ends_ms = np.maximum(ends_ms, own_ms)
                for count in targets:
                    if count not in leaders or own_ms[count - 1] > leaders[count][0]:
                        leaders[count] = float(own_ms[count - 1]), weights
                best = max(best, self._aggregate(restricted, ends_ms, values))
            stalled = 0 if best > before * (1 + _MIN_RISE) else stalled + 1
            if best >= cost or self.routes_left <= 0 or stalled >= _STALLED_ROUNDS:
                break
            count = targets[turn % len(targets)]
            solved = self._solve(restricted, idle, count, cost)
            if solved is None:
                break
            duals, most = solved
            # The programme over the columns so far is at least F, up to rounding and what the lemma adds for latencies.
            if self._objective is not Objective.TOTAL_DELAY and max(most, float(restricted.latency_ms[-1])) <= low:
                break
            # The mean never quite reaches the duals, which may be the best multipliers.
            pending = [duals if stalled % 2 else smoothed(leaders[count][1], duals)]
        self._weights = [weights for _, weights in leaders.values()] or self._weights
        return best

    def _targets(self) -> list[int]:
        """Return the numbers k of jobs of which t(k) is raised in turn."""
        count = sum(self._jobs)
        if self._objective is not Objective.TOTAL_DELAY:
            return [count]
        return sorted({count, -(-3 * count // 4), -(-count // 2), -(-count // 4)}, reverse=True)

    def _restricted(self, cost: float) -> _Restricted | None:
        """Return R(``cost``); None if a stream has no route in it."""
        kinds: dict[tuple[object, ...], int] = {}
        tables, latencies, kind = list[Tables](), list[float](), list[int]()
        for entry, least_ms in zip(self._tables, self._least_ms, strict=True):
            deadline_ms = self._problem.deadline_ms(entry.stream)
            limit_ms = inf if deadline_ms is None else deadline_ms + SLACK * max(1.0, deadline_ms)
            if self._objective is Objective.MAKESPAN:
                limit_ms = min(limit_ms, cost)
            elif self._objective is Objective.TOTAL_DELAY:
                limit_ms = min(limit_ms, cost - self._total_latency_ms + least_ms)
            key = entry.stream.model, entry.nodes, entry.source, entry.sink, limit_ms
            if key not in kinds:
                kept = within_busy_time(entry, cost) if self._objective is Objective.THROUGHPUT else entry
                within = within_latency(kept, limit_ms)
                if within is None:
                    return None
                kinds[key] = len(tables)
                tables.append(within[0])
                latencies.append(within[1])
            kind.append(kinds[key])
        latency_ms = np.sort(np.repeat([latencies[place] for place in kind], self._jobs))
        return _Restricted(tables, kind, self._jobs, latency_ms, self._idle(tables))

    def _idle(self, tables: Sequence[Tables]) -> dict[Resource, float]:
        if self._objective is Objective.THROUGHPUT:
            return {}
        before: dict[Resource, float] = {}
        after: dict[Resource, float] = {}
        for entry in tables:
            latency = latency_measure(entry)
            own = idle_ms([entry], [latency.first], cost_to_go(latency))
            for known, times in zip((before, after), own, strict=True):
                known |= {resource: min(time_ms, known.get(resource, inf)) for resource, time_ms in times.items()}
        # A resource that no route uses is idle all the time, which the lemma limits to the latency of the k-th job.
        return {resource: before[resource] + after[resource] for resource in before}

    def _price(self, restricted: _Restricted, weights: Array) -> list[float]:
        """Return the least weighted busy time of a route of every stream, and keep the routes as columns."""
        self.routes_left -= len(restricted.tables)
        values = list[float]()
        for place, entry in enumerate(restricted.tables):
            computing = np.array([weights[self._places[name, Work.COMPUTE]] for name in entry.nodes])
            sending = np.array([weights[self._places[name, Work.SEND]] for name in entry.nodes])
            measure = busy_measure(entry, computing, sending)
            path = follow_path(measure, cost_to_go(measure), measure.first)
            # Restricted arrays have the fastest route, and only rounding could take it away.
            values.append(0.0 if path is None else path.cost)
            if path is not None:
                route = entry.route(path.devices, path.codecs, 1)
                for index, kind in enumerate(restricted.kind):
                    if kind == place:
                        self._add(index, route)
        return [values[kind] for kind in restricted.kind]

    def _add(self, index: int, route: Route) -> None:
        """Make a route of R(``self._cost``) a column."""
        if (known := self._columns.get((index, route))) is not None:
            self._columns[index, route] = known[0], min(known[1], self._cost)
            return
        stream, times_ms = self._tables[index].stream, np.zeros(len(self._places))
        for resource, busy_ms in self._costs.busy_ms(stream, route).items():
            times_ms[self._places[resource]] = busy_ms
        least = self._cost
        if self._objective is not Objective.THROUGHPUT:
            others_ms = 0.0
            if self._objective is Objective.TOTAL_DELAY:
                others_ms = self._total_latency_ms - self._least_ms[index]
            least = min(least, self._costs.latency_ms(stream, route) + others_ms)
        self._columns[index, route] = times_ms, least

    def _aggregate(self, restricted: _Restricted, ends_ms: Array, values: Sequence[float]) -> float:
        match self._objective:
            case Objective.MAKESPAN:
                return float(ends_ms[-1])
            case Objective.TOTAL_DELAY:
                return float(ends_ms.sum())
            case _:
                return sum(jobs * value for jobs, value in zip(restricted.jobs, values, strict=True))

    def _solve(self, restricted: _Restricted, idle: Array, count: int, cost: float) -> tuple[Array, float] | None:
        """Return the multipliers of the programme over the columns of R(``cost``) for ``count`` jobs, and its optimum.

        minimise T  subject to  sum of b(r, p) x(s, p) + idle(r) <= T for every r,
                                sum over p of x(s, p) <= n(s) for every s, sum of all x = ``count``, x >= 0.
        """
        chosen = [(index, times_ms) for (index, _), (times_ms, least) in self._columns.items() if least <= cost]
        if not chosen:
            return None
        columns = len(chosen)
        streams = len(self._jobs)
        busy = np.stack([times_ms for _, times_ms in chosen], axis=1)
        used = busy.any(axis=1)
        limited = int(used.sum())
        scale = float(max(busy.max(), 1e-300))
        rows = np.zeros((limited + streams + 1, columns + 1))
        rows[:limited, :-1], rows[:limited, -1] = busy[used] / scale, -1.0
        rows[[limited + index for index, _ in chosen], np.arange(columns)] = 1.0
        rows[-1, :-1] = 1.0
        idle_used = np.where(np.isfinite(idle[used]), np.minimum(idle[used], restricted.latency_ms[count - 1]), 0.0)
        high = np.concatenate([-idle_used / scale, np.array([*self._jobs, count], dtype=float)])
        low = np.full(len(high), -inf)
        low[-1] = count
        objective = np.zeros(columns + 1)
        objective[-1] = 1.0
        solution = solve_linear(objective, rows, low, high)
        if solution is None:
            return None
        duals = np.zeros(len(self._places))
        duals[used] = np.maximum(0.0, -solution.duals[:limited])
        total = duals.sum()
        return (duals / total, float(solution.values[-1]) * scale) if total > 0 else None


def _ends_ms(restricted: _Restricted, values: Sequence[float], weights: Array, idle: Array) -> Array:
    """Return the lower bounds of t(k) of the lemma of `burst_bounds`, [K] in ms."""
    cheapest_ms = np.sort(np.repeat(values, restricted.jobs))
    # [K, R]; a weight of 0 times an endless idle time would be no number.
    waits_ms = np.minimum(np.where(weights > 0, idle, 0.0), restricted.latency_ms[:, None])
    return np.asarray(np.cumsum(cheapest_ms) + waits_ms @ weights)


def _least_latency_ms(tables: Tables) -> float:
    latency = latency_measure(tables)
    path = follow_path(latency, cost_to_go(latency), latency.first)
    return inf if path is None else path.cost
