"""Many devices that offload to one server: the times of each task at every cut, and the waiting in the server's queue.

The model of Kafetzis & Koutsopoulos: a task takes D = D_L (at its device) + D_tr (transfer) + D_R (in the queue and at
the server). Shapes: K choices, N tasks, S cuts of a task.
"""

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
from planning.search.infeasibility import diagnose, no_plan, no_split
from planning.search.result import make_plan, policy_queues
from planning.search.two_device_splits import SplitTable, split_table
from shared.policy import QueueDiscipline

# From choices, [K, N], to their values, [K].
Score = Callable[[Index], Array]

# Choices that can be scored in the time of one check of memory; see `memory_check`.
EVALUATIONS_PER_CHECK = 30

# With more jobs than that, choosing a cut for every single one takes too long.
MAX_TASKS = 400


class CutRoutes(Sequence[Route]):
    """Some routes of a `SplitTable`, made on first access."""

    def __init__(self, cuts: SplitTable, chosen: Sequence[int]) -> None:
        """Start with the routes ``chosen``, by index into ``cuts``."""
        self._cuts, self._chosen = cuts, chosen

    def __len__(self) -> int:
        """Return the number of routes."""
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
    """One task, with a route and times per allowed cut, ascending in the cut.

    Attributes:
        stream: the stream of the job.
        source: the device where it starts.
        routes: [S] its routes.
        before_ms: [S] all time but that at the server; a part of it may follow the server.
        server_ms: [S] computing of the server; 0 where the task stays at its source.
        source_ms: [S] of ``before_ms`` the computing of the source.
        send_ms: [S] of ``before_ms`` the sending of the source.
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
        """Make the table of every stream's cuts once."""
        self.problem = problem = network.problem
        self.network = network
        self._cuts = [split_table(problem, stream, self.network) for stream in problem.streams]

    def at(self, server: str) -> list[Offload] | None:
        """Return the tasks at one server, or None if a stream can neither run locally nor reach the server."""
        tasks: list[Offload] = []
        for stream, cuts in zip(self.problem.streams, self._cuts, strict=True):
            place = cuts.helpers.index(server) if server in cuts.helpers else None
            chosen = np.flatnonzero(cuts.feasible & ((cuts.helper == place) | (cuts.helper < 0)))
            if not len(chosen):
                return None
            # Local search changes a cut by one index, which must mean one step along the chain.
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
    """A cut for every task at one server.

    Attributes:
        tasks: [N] the tasks.
        cuts: [N] a cut per task, by index into its routes.
        value: its value in a model of the server's queue.
    """

    tasks: Sequence[Offload]
    cuts: Sequence[int]
    value: float


def best_choice(costs: CostModel, name: str, choices: Sequence[CutChoice], jobs: int) -> Plan | Infeasible | None:
    """Return the plan of the choice that costs least; None without choices.

    Choices are simulated in ascending order of their value, as long as the work lasts.

    Args:
        costs: the cost model of the problem.
        name: of the strategy.
        choices: the choices.
        jobs: bound of the work, in simulated jobs; at least one choice is simulated.
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
    """Return the devices that streams can use as a helper, those that most can use first; else the first source."""
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
    """Delays of many choices in arrays if all offloaded parts are at the server at time 0.

    With s(1) <= ... <= s(m) the parts in ms, ties by index, the k-th of them ends

    - shortest job first: at s(1) + ... + s(k) (Kafetzis & Koutsopoulos, equation 2).
    - round robin, in infinitely small slots: at s(1) + ... + s(k - 1) + (m - k + 1) s(k). Until then each of the
      m - k + 1 parts that are not done has had s(k) of the server's time.

    Every other discipline is approximated by shortest job first.
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
        """Return the delays in ms of every choice, [K, N] as the choices."""
        rows = np.arange(choices.shape[1])
        before, sizes = self._before[rows, choices], self._server[rows, choices]
        order = np.argsort(sizes, axis=1, kind="stable")
        ranked = np.take_along_axis(sizes, order, axis=1)
        ends = np.cumsum(ranked, axis=1)
        # Parts of size 0 come first and take no time, so that they may be counted among the m.
        if self._fluid:
            # The k-th of m parts ends at s(1) + ... + s(k - 1) + (m - k + 1) s(k). The running sum contains s(k) once;
            # the other m - k are added here.
            ends += np.arange(len(rows) - 1, -1, -1) * ranked
        waiting = np.empty_like(ends)
        np.put_along_axis(waiting, order, ends, axis=1)
        return np.asarray(before + np.where(sizes > 0, waiting, 0.0))


def memory_check(costs: CostModel, tasks: Sequence[Offload]) -> Callable[[Sequence[int]], bool]:
    """Return a function from a choice, [N], to whether the memory of all devices suffices."""
    problem = costs.problem
    if all(device.memory_bytes is None for device in problem.devices.values()):
        return lambda choice: True
    return lambda choice: not memory_violations(problem, task_plans(problem, tasks, choice))


def simulated_score(costs: CostModel, tasks: Sequence[Offload], aggregate: Callable[[Array], Array]) -> Score:
    """Return the score of a choice by simulation.

    Args:
        costs: the cost model of the problem.
        tasks: the tasks.
        aggregate: from delays in ms, [K, N], to values, [K].
    """
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
    """Return the reasons why some stream can neither run at its source nor use a server."""
    reasons = tuple(reason for stream in problem.streams for reason in diagnose(problem, stream, time_budget_s))
    otherwise = (no_split(problem.streams[0], name),)
    return no_plan(problem, name, reasons or otherwise, time_budget_s, proved=bool(reasons))
