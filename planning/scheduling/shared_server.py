"""Many devices, one server: what each task costs at every cut, and what it waits for (Kafetzis & Koutsopoulos)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from planning.cost.constraints import memory_violations
from planning.cost.cost_model import CostModel
from planning.problem.plan import Infeasible, Plan, Route, StreamPlan
from planning.problem.problem import Problem
from planning.scheduling.burst_planning import sequence_plan
from planning.search.arrays import Array, Index
from planning.search.device_network import DeviceNetwork
from planning.search.infeasibility import diagnose, no_split
from planning.search.result import make_plan, policy_queues
from planning.search.two_device_splits import SplitTable, split_table
from shared.policy import QueueDiscipline

Score = Callable[[Index], Array]
"""From choices, [K, N], to their values, [K]."""

ASKED = 30
"""How many choices can be scored while memory is looked at for one; see `fits`."""

MAX_TASKS = 400
"""Above so many jobs, choosing a cut for every single one takes too long."""


class CutRoutes(Sequence[Route]):
    """Chosen routes of `SplitTable`, made when they are asked for."""

    def __init__(self, cuts: SplitTable, chosen: Sequence[int]) -> None:
        """Offer the routes ``chosen``, by index."""
        self._cuts, self._chosen = cuts, chosen

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Route: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Route]: ...

    def __getitem__(self, index: int | slice) -> Route | Sequence[Route]:
        """Return a route."""
        if isinstance(index, slice):
            return CutRoutes(self._cuts, self._chosen[index])
        return self._cuts.route(self._chosen[index])


@dataclass(frozen=True, slots=True, eq=False)
class Offload:
    """One task, per allowed cut, ascending.

    Attributes:
        stream: whose job it is.
        source: where it starts.
        routes: the route.
        before_ms: all time but that at the server.
        server_ms: the time there.
        source_ms: what of the time before the source computes.
        send_ms: what of it the source sends.
    """

    stream: str
    source: str
    routes: Sequence[Route]
    before_ms: Array
    server_ms: Array
    source_ms: Array
    send_ms: Array


class Offloads:
    """The tasks of a problem at any server: one per job of every stream."""

    def __init__(self, network: DeviceNetwork) -> None:
        """Look at every stream's cuts once."""
        self.problem = problem = network.problem
        self.network = network
        self._cuts = [split_table(problem, stream, self.network) for stream in problem.streams]

    def at(self, server: str) -> list[Offload] | None:
        """Return the tasks at one server, or None if a stream can neither run locally nor reach the server."""
        tasks: list[Offload] = []
        for stream, cuts in zip(self.problem.streams, self._cuts, strict=True):
            place = cuts.helpers.index(server) if server in cuts.helpers else None
            chosen = np.flatnonzero(cuts.kept & ((cuts.helper == place) | (cuts.helper < 0)))
            if not len(chosen):
                return None
            chosen = chosen[np.argsort(cuts.cut[chosen], kind="stable")]
            server_ms = cuts.helper_ms[chosen]
            before_ms = cuts.latency_ms[chosen] - server_ms
            routes, near_ms, sent_ms = CutRoutes(cuts, chosen.tolist()), cuts.source_ms[chosen], cuts.send_ms[chosen]
            task = Offload(stream.name, stream.source, routes, before_ms, server_ms, near_ms, sent_ms)
            tasks += [task] * stream.jobs
        return tasks

    def everywhere(self) -> list[list[Offload]]:
        """Return the tasks at every server where all streams have a route, the server that most can use first."""
        return [tasks for server in servers(self.problem, self.network) if (tasks := self.at(server)) is not None]


def offloads(problem: Problem, server: str) -> list[Offload] | None:
    """Return the tasks at one server; see `Offloads.at`."""
    return Offloads(DeviceNetwork(problem)).at(server)


@dataclass(frozen=True, slots=True, eq=False)
class CutChoice:
    """A cut for every task at one server, and what the snapshot says of it."""

    tasks: Sequence[Offload]
    cuts: Sequence[int]
    value: float


def best_choice(costs: CostModel, name: str, choices: Sequence[CutChoice], jobs: int) -> Plan | Infeasible | None:
    """Return the plan of the choice that costs least; only the first in the snapshot's order are simulated.

    Args:
        costs: the cost model of the problem.
        name: of the strategy.
        choices: what to choose from.
        jobs: how many jobs may be simulated; at least one choice is.
    """
    best: Plan | None = None
    failure: Infeasible | None = None
    for choice in sorted(choices, key=lambda choice: choice.value):
        answer = make_plan(costs.problem, name, task_plans(costs.problem, choice.tasks, choice.cuts), costs=costs)
        if isinstance(answer, Infeasible):
            failure = failure or answer
        elif best is None or answer.cost < best.cost:
            best = answer
        jobs -= len(choice.tasks)
        if jobs < 0 and best is not None:
            break
    return best or failure


def servers(problem: Problem, network: DeviceNetwork | None = None) -> list[str]:
    """Return the devices that at least one stream can use as a helper, those that most can use first."""
    network = network or DeviceNetwork(problem)
    votes: dict[str, int] = {}
    for stream in problem.streams:
        for helper in network.neighbours(stream.source):
            if network.can_run(helper, stream.model):
                votes[helper] = votes.get(helper, 0) + 1
    return sorted(votes, key=lambda name: -votes[name]) or [problem.streams[0].source]


def task_plans(problem: Problem, tasks: Sequence[Offload], choice: Sequence[int]) -> dict[str, StreamPlan]:
    """Return the plan in which task i takes its route ``choice[i]``."""
    taken: dict[str, list[Route]] = {stream.name: [] for stream in problem.streams}
    for task, cut in zip(tasks, choice, strict=True):
        taken[task.stream].append(task.routes[cut])
    return {name: sequence_plan(routes) for name, routes in taken.items()}


class QueueSnapshot:
    """Delays of many choices at once if all offloaded parts are at the server at time 0, in ms.

    Round robin is fluid: the k-th smallest of m ends after the sum of the smaller ones plus (m - k + 1) times its own.
    Every other discipline is taken as shortest job first: the sum of what is ranked before plus its own, ties by index.
    """

    def __init__(self, tasks: Sequence[Offload], discipline: QueueDiscipline) -> None:
        """Lay the tasks' times side by side."""
        widest = max(len(task.routes) for task in tasks)
        self._before, self._server = np.zeros((len(tasks), widest)), np.zeros((len(tasks), widest))
        for row, task in enumerate(tasks):
            self._before[row, : len(task.before_ms)] = task.before_ms
            self._server[row, : len(task.server_ms)] = task.server_ms
        self._fluid = discipline is QueueDiscipline.ROUND_ROBIN

    def delays_ms(self, choices: Index) -> Array:
        """Return the delays of every choice, [K, N] as the choices."""
        rows = np.arange(choices.shape[1])
        before, sizes = self._before[rows, choices], self._server[rows, choices]
        order = np.argsort(sizes, axis=1, kind="stable")
        ranked = np.take_along_axis(sizes, order, axis=1)
        ends = np.cumsum(ranked, axis=1)
        if self._fluid:
            ends += np.arange(len(rows) - 1, -1, -1) * ranked
        waiting = np.empty_like(ends)
        np.put_along_axis(waiting, order, ends, axis=1)
        return np.asarray(before + np.where(sizes > 0, waiting, 0.0))


def fits(costs: CostModel, tasks: Sequence[Offload]) -> Callable[[Sequence[int]], bool]:
    """Return a function that says of a choice whether memory suffices."""
    problem = costs.problem
    if all(device.memory_bytes is None for device in problem.devices.values()):
        return lambda choice: True
    return lambda choice: not memory_violations(problem, task_plans(problem, tasks, choice))


def simulated(costs: CostModel, tasks: Sequence[Offload], aggregate: Callable[[Array], Array]) -> Score:
    """Return what ``aggregate`` makes of the simulated delays, [K, N]."""
    problem = costs.problem

    def score(choices: Index) -> Array:
        values: list[float] = []
        for cuts in choices.tolist():
            plans = task_plans(problem, tasks, cuts)
            delays_ms = np.array([costs.delays_ms(plans, policy_queues(problem, plans))])
            values.append(float(aggregate(delays_ms)[0]))
        return np.array(values)

    return score


def no_offload(problem: Problem, name: str, time_budget_s: float) -> Infeasible:
    """Return why some stream can neither run at its source nor use a server."""
    reasons = tuple(reason for stream in problem.streams for reason in diagnose(problem, stream, time_budget_s))
    return Infeasible(name, problem.policy.objective, reasons or (no_split(problem.streams[0], name),))
