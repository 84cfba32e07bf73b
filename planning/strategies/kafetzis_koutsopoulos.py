"""Kafetzis & Koutsopoulos: a greedy choice of cuts for all tasks that share a server."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from random import Random

import numpy as np

from planning.cost.cost_model import CostModel
from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.scheduling.pairwise_exchange import improve_by_exchange
from planning.scheduling.shared_server import (
    MAX_TASKS,
    CutChoice,
    Offload,
    Offloads,
    QueueSnapshot,
    Score,
    best_choice,
    fits,
    no_offload,
    simulated,
)
from planning.search.arrays import Array, Index
from planning.search.device_network import DeviceNetwork, network_of
from planning.search.result import unsupported
from shared.policy import Objective

TASKS_PER_SECOND = 600_000
"""How many delays of the snapshot may be computed per second of time budget, all servers and starts together."""

JOBS_PER_SECOND = 600
"""How many jobs may be simulated per second of time budget."""

SERVERS_PER_SECOND = 1_000
"""How many pairs of task and server may be looked at per second of time budget; at least one server is."""

RANDOM_STARTS = 20
"""Of the multistart, besides the four usual ones."""


class Start(StrEnum):
    """Where the greedy descent begins: the paper's two choices, this project's four, or random ones as well."""

    ONES = "ones"
    HALF = "half"
    USUAL = "usual"
    MULTISTART = "multistart"


@dataclass(frozen=True, slots=True)
class KafetzisKoutsopoulos:
    """Greedy single steps of the cuts, largest decrease of total delay or variance first.

    2 N evaluations per round, O(N log N) each, all of a round at once. Resolutions: the stop test is "no decrease"
    (printed as a strict increase); p = 0 (everything offloaded) is allowed; local computing has no background processes
    beyond the load factor; tasks start with one local stage, with half, with all, and with none, and the best end is
    kept, unless ``start`` asks for one of the first two (the paper's choices) or for random starts as well. With
    ``pairs`` (this project) any task, or any two, change to any cuts instead of one task by one stage. Delays are
    those of the paper's snapshot (all offloaded parts at the server at time 0) unless ``event_driven``, which goes on
    from the snapshot's best end with simulated delays; the answer's cost is always the common prediction. The
    discipline is the policy's; all but round robin count as shortest job first in the snapshot. Variance is minimised
    for the objective ``delay_variance``, total delay otherwise.
    """

    name: str = "kafetzis_koutsopoulos"
    description: str = "greedy cuts for all streams that share a server, for total delay or its variance"
    citation: str = (
        "Kafetzis & Koutsopoulos, DNN partitioning and inference task offloading in 6G resource-constrained networks"
    )
    event_driven: bool = False
    pairs: bool = False
    start: Start = Start.USUAL
    network: DeviceNetwork | None = field(default=None, repr=False, compare=False)

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the best end of the greedy descent over all servers and starts."""
        if (count := sum(stream.jobs for stream in problem.streams)) > MAX_TASKS:
            return unsupported(problem, self.name, f"{count} jobs, more than {MAX_TASKS}")
        network, objective = network_of(problem, self.network), problem.policy.objective
        costs = network.costs
        everywhere = Offloads(network).everywhere()[: max(1, int(SERVERS_PER_SECOND * time_budget_s / count))]
        searches = _most_starts(self.start) * max(1, len(everywhere))
        evaluations = int(TASKS_PER_SECOND * time_budget_s / (count * searches))
        choices = []
        for tasks in everywhere:
            snapshot = QueueSnapshot(tasks, problem.policy.queue)

            def score(chosen: Index, snapshot: QueueSnapshot = snapshot) -> Array:
                return _aggregate(snapshot.delays_ms(chosen), objective)

            for start in starts(tasks, self.start, seed):
                if self.pairs:
                    cuts = [len(task.routes) for task in tasks]
                    end = improve_by_exchange(cuts, start, score, fits(costs, tasks), evaluations, seed)[0]
                else:
                    end = greedy(tasks, start, score, evaluations)
                choices.append(CutChoice(tasks, end, float(score(np.array([end]))[0])))
        jobs = int(JOBS_PER_SECOND * time_budget_s)
        if self.event_driven and choices:
            choices = [_refined(costs, min(choices, key=lambda choice: choice.value), jobs)]
        return best_choice(costs, self.name, choices, jobs // 2) or no_offload(problem, self.name, time_budget_s)


def _aggregate(delays_ms: Array, objective: Objective) -> Array:
    """Return total delay, or its variance where that is the objective, of every row."""
    return np.asarray(delays_ms.var(axis=1) if objective is Objective.DELAY_VARIANCE else delays_ms.sum(axis=1))


def _refined(costs: CostModel, choice: CutChoice, jobs: int) -> CutChoice:
    """Return where the greedy descent leads from ``choice`` if delays are simulated."""
    objective = costs.problem.policy.objective
    delays, allowed = (
        simulated(costs, choice.tasks, lambda delays_ms: _aggregate(delays_ms, objective)),
        fits(costs, choice.tasks),
    )

    def score(chosen: Index) -> Array:
        kept = np.array([allowed(cuts) for cuts in chosen.tolist()])
        values = np.full(len(chosen), inf)
        if kept.any():
            values[kept] = delays(chosen[kept])
        return values

    end = greedy(choice.tasks, choice.cuts, score, jobs // len(choice.tasks))
    return CutChoice(choice.tasks, end, choice.value)


def greedy(tasks: Sequence[Offload], start: Sequence[int], score: Score, evaluations: int) -> list[int]:
    """Return where single steps of largest decrease lead from ``start``; one index of a route per task.

    A step gives one task one stage more or one less at its source.
    Ends when a round would need more than what is left of ``evaluations``.
    """
    choice: Index = np.array(start)
    last = np.array([len(task.routes) - 1 for task in tasks])
    single = np.eye(len(choice), dtype=np.int64)
    value = float(score(choice[None, :])[0])
    while True:
        steps: Index = np.concatenate([choice - single, choice + single])
        steps = steps[((steps >= 0) & (steps <= last)).all(axis=1)]
        evaluations -= len(steps)
        if not len(steps) or evaluations < 0:
            return [int(cut) for cut in choice]
        values = score(steps)
        least = int(values.argmin())
        if not values[least] < value - 1e-12 * abs(value):
            return [int(cut) for cut in choice]
        choice, value = steps[least], float(values[least])


def _most_starts(start: Start) -> int:
    return {Start.ONES: 1, Start.HALF: 1, Start.USUAL: 4, Start.MULTISTART: 4 + RANDOM_STARTS}[start]


def starts(tasks: Sequence[Offload], start: Start = Start.USUAL, seed: int = 0) -> Iterator[list[int]]:
    """Yield one local stage, half of the stages, all local, none local (as far as each task's cuts go).

    With another ``start`` than `USUAL` the first or the second alone, or all four and RANDOM_STARTS random ones.
    """
    last = [len(task.routes) - 1 for task in tasks]
    candidates = [[min(1, most) for most in last], [most // 2 for most in last], last, [0] * len(last)]
    if start is Start.ONES:
        candidates = candidates[:1]
    elif start is Start.HALF:
        candidates = candidates[1:2]
    elif start is Start.MULTISTART:
        random = Random(seed)
        candidates += [[random.randint(0, most) for most in last] for _ in range(RANDOM_STARTS)]
    yield from (list(start) for start in dict.fromkeys(map(tuple, candidates)))
