"""Many devices, one server: what each task costs at every cut, and what it waits for (Kafetzis & Koutsopoulos)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.planner.strategies.candidates import helpers, keeps_constraints, local_route, split_routes
from services.planner.strategies.jps import sequence_plan
from services.planner.strategies.tables import Array
from shared.plan.cost import CostModel
from shared.plan.pipeline import Work
from shared.plan.plan import Route, StreamPlan
from shared.plan.policy import QueueDiscipline
from shared.plan.problem import Problem, Stream

MAX_TASKS = 400
"""Above so many jobs, choosing a cut for every single one takes too long."""


@dataclass(frozen=True, slots=True, eq=False)
class Offload:
    """One task: per allowed cut, ascending, its route, the time before it reaches the server, and its time there."""

    stream: str
    routes: tuple[Route, ...]
    before_ms: Array
    server_ms: Array


def offloads(problem: Problem, server: str) -> list[Offload] | None:
    """Return one task per job of every stream, or None if a stream can neither run locally nor reach the server."""
    tasks: list[Offload] = []
    costs = CostModel(problem)
    for stream in problem.streams:
        routes = _routes(problem, stream, server, costs)
        if not routes:
            return None
        before_ms, server_ms = [], []
        for route in routes:
            at_server = latency = 0.0
            for operation in costs.operations(stream, route):
                latency += operation.duration_ms
                if operation.resource == (server, Work.COMPUTE) and server != stream.source:
                    at_server += operation.duration_ms
            server_ms.append(at_server)
            before_ms.append(latency - at_server)
        tasks += [Offload(stream.name, routes, np.array(before_ms), np.array(server_ms))] * stream.jobs
    return tasks


def servers(problem: Problem) -> list[str]:
    """Return the devices that at least one stream can use as a helper, those that most can use first."""
    votes: dict[str, int] = {}
    costs = CostModel(problem)
    for stream in problem.streams:
        for helper in helpers(problem, stream, costs):
            votes[helper] = votes.get(helper, 0) + 1
    return sorted(votes, key=lambda name: -votes[name]) or [problem.streams[0].source]


def task_plans(problem: Problem, tasks: Sequence[Offload], choice: Sequence[int]) -> dict[str, StreamPlan]:
    """Return the plan in which task i takes its route ``choice[i]``."""
    taken: dict[str, list[Route]] = {stream.name: [] for stream in problem.streams}
    for task, cut in zip(tasks, choice, strict=True):
        taken[task.stream].append(task.routes[cut])
    return {name: sequence_plan(routes) for name, routes in taken.items()}


def snapshot_delays_ms(tasks: Sequence[Offload], choice: Sequence[int], discipline: QueueDiscipline) -> Array:
    """Return every task's delay if all offloaded parts are at the server at time 0, in ms.

    Round robin is fluid: the k-th smallest of m ends after the sum of the smaller ones plus (m - k + 1) times its own.
    Every other discipline is taken as shortest job first: the sum of what is ranked before plus its own, ties by index.
    """
    before = np.array([task.before_ms[cut] for task, cut in zip(tasks, choice, strict=True)])
    sizes = np.array([task.server_ms[cut] for task, cut in zip(tasks, choice, strict=True)])
    order = np.argsort(sizes, kind="stable")
    ranked = sizes[order]
    ends = np.cumsum(ranked)
    if discipline is QueueDiscipline.ROUND_ROBIN:
        ends += np.arange(len(ranked) - 1, -1, -1) * ranked
    waiting = np.empty_like(ends)
    waiting[order] = ends
    return np.asarray(before + np.where(sizes > 0, waiting, 0.0))


def _routes(problem: Problem, stream: Stream, server: str, costs: CostModel) -> tuple[Route, ...]:
    local = local_route(problem, stream)
    routes: list[Route] = []
    if server in helpers(problem, stream, costs):
        cuts = range(len(problem.models[stream.model].blocks) if local is not None else 1)
        routes += [route for cut in cuts for route in split_routes(problem, stream, server, cut)]
    if local is not None:
        routes.append(local)
    return tuple(route for route in routes if keeps_constraints(problem, stream, route, costs))
