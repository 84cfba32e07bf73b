"""Fairness among tasks that share a server: least variance of the delays, or least largest delay."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np

from planning.cost.cost_model import CostModel
from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.scheduling.arrival_delays import ArrivalDelays
from planning.scheduling.fair_branch_and_bound import FairnessMeasure, ServiceOrder, fairest
from planning.scheduling.pairwise_exchange import improve_by_exchange
from planning.scheduling.shared_server import (
    CutChoice,
    Offload,
    Offloads,
    QueueSnapshot,
    Score,
    fits,
    no_offload,
    simulated,
    task_plans,
)
from planning.search.arrays import Array
from planning.search.device_network import DeviceNetwork, network_of
from planning.search.result import make_plan, unsupported
from planning.strategies.kafetzis_koutsopoulos import Start, starts
from shared.policy import Objective, QueueDiscipline

MAX_TASKS = 100
"""Above so many jobs, changing two at once takes too long."""

MAX_RANKED = 12
"""Above so many jobs branch and bound is far from its end, and local search has to do."""

STEPS_PER_SECOND = 4_000_000
"""How many pairs of partial choice and cut may be looked at per second of time budget, all servers together."""

PAIRS_PER_SECOND = 4_000_000
"""How many pairs of tasks may be put in order per second of time budget, all choices, servers and starts together."""

JOBS_PER_SECOND = 600
"""How many jobs may be simulated per second of time budget."""

SERVERS_PER_SECOND = 60
"""How many pairs of task and server may be looked at per second of time budget; at least one server is."""

ROUNDS = 10
"""A start of the local search more than two has to be worth so many rounds of changes of one task."""

_SNAPSHOTS = {
    QueueDiscipline.ROUND_ROBIN: ServiceOrder.SHARED,
    QueueDiscipline.SHORTEST_JOB_FIRST: ServiceOrder.SHORTEST,
}
_MEASURES = {Objective.DELAY_VARIANCE: FairnessMeasure.VARIANCE, Objective.MAKESPAN: FairnessMeasure.LARGEST}


@dataclass(frozen=True, slots=True)
class FairRanks:
    """Cuts for all tasks of one server by branch and bound over the ranks in its queue, then by simulation.

    Changes of one or two tasks, from the greedy's starts and random ones, lead to a first choice, branch and bound
    (`fairest`, for up to 12 tasks) to the best: exact within a second of time budget for up to 8 tasks with 12 cuts,
    often for 10, and above that the best found. Exact is meant for one server (several share the budget), and in a
    model: parts come when they do and are served in that order, each from a source of its own; under shortest job first
    and round robin another half of the budget is for the snapshot, in which all are there at time 0. The best choices
    are simulated, changes of one or two tasks go on from the best of them with simulated delays, and the cost told is
    the common prediction. Nothing is proved about that cost: other servers and routes of several cuts might be fairer.
    """

    name: str = "fair_ranks"
    description: str = "least variance of delays, or least largest delay, of all streams that share a server"
    citation: str = "this project; problem: Kafetzis & Koutsopoulos"
    network: DeviceNetwork | None = field(default=None, repr=False, compare=False)

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the fairest choice over all servers."""
        objective, count = problem.policy.objective, sum(stream.jobs for stream in problem.streams)
        measure = _MEASURES.get(objective)
        if measure is None:
            return unsupported(problem, self.name, f"objective {objective.value} is not fairness")
        if count > MAX_TASKS:
            return unsupported(problem, self.name, f"{count} jobs, more than {MAX_TASKS}")
        network = network_of(problem, self.network)
        everywhere = Offloads(network).everywhere()[: max(1, int(SERVERS_PER_SECOND * time_budget_s / count))]
        if not everywhere:
            return no_offload(problem, self.name, time_budget_s)
        share = time_budget_s / len(everywhere)
        choices = [choice for tasks in everywhere for choice in _choices(network.costs, tasks, measure, seed, share)]
        best = _simulated_best(network.costs, choices, measure, seed, int(JOBS_PER_SECOND * time_budget_s))
        return make_plan(problem, self.name, task_plans(problem, best.tasks, best.cuts), costs=network.costs)


def _aggregate(delays_ms: Array, measure: FairnessMeasure) -> Array:
    return np.asarray(delays_ms.var(axis=1) if measure is FairnessMeasure.VARIANCE else delays_ms.max(axis=1))


def _choices(
    costs: CostModel, tasks: Sequence[Offload], measure: FairnessMeasure, seed: int, time_budget_s: float
) -> Iterator[CutChoice]:
    """Yield the fairest choice at one server and the ends of local search."""
    queue, allowed, cuts = costs.problem.policy.queue, fits(costs, tasks), [len(task.routes) for task in tasks]
    models: list[tuple[ArrivalDelays | QueueSnapshot, ServiceOrder]] = [
        (ArrivalDelays(tasks, queue), ServiceOrder.FIRST_COME)
    ]
    if queue in _SNAPSHOTS:
        models.insert(0, (QueueSnapshot(tasks, queue), _SNAPSHOTS[queue]))
    share = time_budget_s / len(models)
    evaluations = int(PAIRS_PER_SECOND * share / len(tasks) ** 2)
    begins = list(starts(tasks, Start.MULTISTART, seed))[: max(2, evaluations // (ROUNDS * sum(cuts)))]
    for model, service in models:
        score, known = _scored(model, measure), inf
        for start in begins:
            end, value = improve_by_exchange(cuts, start, score, allowed, evaluations // len(begins), seed)
            known = min(known, value)
            yield CutChoice(tasks, end, value)
        shared = service is ServiceOrder.FIRST_COME and len({task.source for task in tasks}) < len(tasks)
        if shared or len(tasks) > MAX_RANKED:
            continue
        steps = int(STEPS_PER_SECOND * share)
        found = fairest(tasks, service, measure, steps=steps, known=known, allowed=allowed)
        if found.choice is not None:
            yield CutChoice(tasks, found.choice, found.value)


def _scored(model: ArrivalDelays | QueueSnapshot, measure: FairnessMeasure) -> Score:
    return lambda chosen: _aggregate(model.delays_ms(chosen), measure)


def _simulated_best(
    costs: CostModel, choices: Sequence[CutChoice], measure: FairnessMeasure, seed: int, jobs: int
) -> CutChoice:
    """Return where changes of one or two tasks lead from the best choice, with simulated delays.

    Half of the jobs that may be simulated compare choices, the best in the server's model first.
    """
    count, best, best_value = len(choices[0].tasks), choices[0], inf
    distinct = {(id(choice.tasks), tuple(choice.cuts)): choice for choice in choices}
    for choice in sorted(distinct.values(), key=lambda choice: choice.value)[: max(1, jobs // 2 // count)]:
        value = float(_score(costs, choice.tasks, measure)(np.array([choice.cuts]))[0])
        if value < best_value and choice.value < inf:
            best, best_value = choice, value
    score, allowed = _score(costs, best.tasks, measure), fits(costs, best.tasks)
    cuts = [len(task.routes) for task in best.tasks]
    end, value = improve_by_exchange(cuts, best.cuts, score, allowed, jobs // 2 // count, seed, chunk=1)
    return CutChoice(best.tasks, end, value)


def _score(costs: CostModel, tasks: Sequence[Offload], measure: FairnessMeasure) -> Score:
    return simulated(costs, tasks, lambda delays_ms: _aggregate(delays_ms, measure))
