"""Fair plans for tasks that share a server: least variance of the delays, or least largest delay."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import ClassVar

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
    memory_check,
    no_offload,
    simulated_score,
    task_plans,
)
from planning.search.arrays import Array
from planning.search.planning_context import PlanningContext, context_of
from planning.search.result import make_plan, unsupported
from planning.strategies.kafetzis_koutsopoulos import Start, starts
from planning.strategies.traits import CostClass, Joint, Traits, Trial
from shared.policy import Objective, QueueDiscipline

# Largest number of jobs; beyond it, changes of two jobs take too long.
MAX_TASKS = 100

# Largest number of jobs for branch and bound; beyond it the search is far from its end, and only local search runs.
MAX_RANKED = 12

# Pairs of partial choice and cut that may be examined per second of time budget, all servers together.
STEPS_PER_SECOND = 4_000_000

# Pairs of tasks that may be ordered per second of time budget, all choices, servers and starts together.
PAIRS_PER_SECOND = 4_000_000

# Jobs that may be simulated per second of time budget.
JOBS_PER_SECOND = 600

# Pairs of task and server that may be examined per second of time budget; at least one server always is.
SERVERS_PER_SECOND = 60

# Rounds of changes of one task that the budget must allow for every start of the local search beyond two.
ROUNDS = 10

_SNAPSHOTS = {
    QueueDiscipline.ROUND_ROBIN: ServiceOrder.SHARED,
    QueueDiscipline.SHORTEST_JOB_FIRST: ServiceOrder.SHORTEST,
}
_MEASURES = {Objective.DELAY_VARIANCE: FairnessMeasure.VARIANCE, Objective.MAKESPAN: FairnessMeasure.LARGEST}


@dataclass(frozen=True, slots=True)
class FairRanks:
    """Cuts for all tasks of one server by branch and bound over the ranks in its queue, then by simulation.

    1. Changes of one or two tasks, from the greedy's starts and random ones, lead to a first choice.
    2. For up to 12 tasks, branch and bound (`fairest`) leads to the best choice in a model of the server. A second of
       time budget suffices for 8 tasks with 12 cuts, and often for 10. With less budget the best choice so far is used.
    3. The best choices are simulated, and changes of one or two tasks continue from the best of them with simulated
       delays.

    The second step is exact for one server (several share the budget) and within its model. In this model every part
    arrives at its true time, parts are served in that order, and each task has a source of its own. Under shortest job
    first and round robin half of the budget is spent on the snapshot. In it all parts are at the server at time 0.
    Nothing is proved about the predicted cost: other servers and routes of several cuts might be fairer.
    """

    traits: ClassVar[Traits] = Traits(
        objectives=frozenset(_MEASURES), cost_class=CostClass.SEARCH, joint=Joint.ON_A_FLEET
    )

    name: str = "fair_ranks"
    description: str = "least variance of delays, or least largest delay, of all streams that share a server"
    citation: str = "this project; problem: Kafetzis & Koutsopoulos"
    trial: Trial | None = field(default=Trial(turn=120, objectives=frozenset(_MEASURES)))

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the fairest choice over all servers."""
        objective, count = problem.policy.objective, sum(stream.jobs for stream in problem.streams)
        measure = _MEASURES.get(objective)
        if measure is None:
            return unsupported(problem, self.name, f"objective {objective.value} is not fairness")
        if count > MAX_TASKS:
            return unsupported(problem, self.name, f"{count} jobs, more than {MAX_TASKS}")
        context = context_of(problem, context)
        costs = context.costs
        everywhere = Offloads(context.network).everywhere()[: max(1, int(SERVERS_PER_SECOND * time_budget_s / count))]
        if not everywhere:
            return no_offload(problem, self.name, time_budget_s)
        share = time_budget_s / len(everywhere)
        choices = [choice for tasks in everywhere for choice in _choices(costs, tasks, measure, seed, share)]
        best = _simulated_best(costs, choices, measure, seed, int(JOBS_PER_SECOND * time_budget_s))
        return make_plan(problem, self.name, task_plans(problem, best.tasks, best.cuts), costs=costs)


def _aggregate(delays_ms: Array, measure: FairnessMeasure) -> Array:
    return np.asarray(delays_ms.var(axis=1) if measure is FairnessMeasure.VARIANCE else delays_ms.max(axis=1))


def _choices(
    costs: CostModel, tasks: Sequence[Offload], measure: FairnessMeasure, seed: int, time_budget_s: float
) -> Iterator[CutChoice]:
    """Yield the ends of local search at one server, and the fairest choice where branch and bound finds it."""
    queue, allowed, cuts = costs.problem.policy.queue, memory_check(costs, tasks), [len(task.routes) for task in tasks]
    models: list[tuple[ArrivalDelays | QueueSnapshot, ServiceOrder]] = [
        (ArrivalDelays(tasks, queue), ServiceOrder.FIRST_COME)
    ]
    if queue in _SNAPSHOTS:
        models.insert(0, (QueueSnapshot(tasks, queue), _SNAPSHOTS[queue]))
    # Shortest job first and round robin have two models, which share the budget.
    share = time_budget_s / len(models)
    evaluations = int(PAIRS_PER_SECOND * share / len(tasks) ** 2)
    begins = list(starts(tasks, Start.MULTISTART, seed))[: max(2, evaluations // (ROUNDS * sum(cuts)))]
    for model, service in models:
        score, known = _scored(model, measure), inf
        for start in begins:
            end, value = improve_by_exchange(cuts, start, score, allowed, evaluations // len(begins), seed)
            known = min(known, value)
            yield CutChoice(tasks, end, value)
        # In the model each task has a source of its own, so tasks that wait for each other at a source are not covered.
        shared = service is ServiceOrder.FIRST_COME and len({task.source for task in tasks}) < len(tasks)
        if shared or len(tasks) > MAX_RANKED:
            continue
        steps = int(STEPS_PER_SECOND * share)
        fair = fairest(tasks, service, measure, steps=steps, known=known, allowed=allowed)
        if fair.choice is not None:
            yield CutChoice(tasks, fair.choice, fair.value)


def _scored(model: ArrivalDelays | QueueSnapshot, measure: FairnessMeasure) -> Score:
    return lambda chosen: _aggregate(model.delays_ms(chosen), measure)


def _simulated_best(
    costs: CostModel, choices: Sequence[CutChoice], measure: FairnessMeasure, seed: int, jobs: int
) -> CutChoice:
    """Return the end of changes of one or two tasks from the best choice, with simulated delays.

    Half of the jobs that may be simulated serve to compare choices, the best in the server's model first.
    """
    count, best, best_value = len(choices[0].tasks), choices[0], inf
    distinct = {(id(choice.tasks), tuple(choice.cuts)): choice for choice in choices}
    for choice in sorted(distinct.values(), key=lambda choice: choice.value)[: max(1, jobs // 2 // count)]:
        value = float(_score(costs, choice.tasks, measure)(np.array([choice.cuts]))[0])
        if value < best_value and choice.value < inf:
            best, best_value = choice, value
    score, allowed = _score(costs, best.tasks, measure), memory_check(costs, best.tasks)
    cuts = [len(task.routes) for task in best.tasks]
    end, value = improve_by_exchange(cuts, best.cuts, score, allowed, jobs // 2 // count, seed, chunk=1)
    return CutChoice(best.tasks, end, value)


def _score(costs: CostModel, tasks: Sequence[Offload], measure: FairnessMeasure) -> Score:
    return simulated_score(costs, tasks, lambda delays_ms: _aggregate(delays_ms, measure))
