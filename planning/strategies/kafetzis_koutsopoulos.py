"""Kafetzis & Koutsopoulos: a greedy choice of cuts for all tasks that share a server."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from random import Random
from typing import ClassVar

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
    memory_check,
    no_offload,
    simulated_score,
)
from planning.search.arrays import Array, Index
from planning.search.planning_context import PlanningContext, context_of
from planning.search.result import unsupported
from planning.strategies.traits import BudgetLimit, CostClass, Joint, ProblemSize, Traits, Trial
from shared.policy import Objective

# Objectives of the paper: sums over all tasks that share a server.
DELAY_OBJECTIVES = frozenset({Objective.TOTAL_DELAY, Objective.DELAY_VARIANCE})

# Pairs of job and device per second of time budget up to which ``auto`` tries all variants.
VARIANT_PAIRS_PER_SECOND = 60

# Delays of the snapshot that may be computed per second of time budget, all servers and starts together.
TASKS_PER_SECOND = 600_000

# Jobs that may be simulated per second of time budget.
JOBS_PER_SECOND = 600

# Pairs of task and server that may be examined per second of time budget; at least one server always is.
SERVERS_PER_SECOND = 300

# Random starts of the multistart, besides the four usual ones.
RANDOM_STARTS = 20


class Start(StrEnum):
    """The starts of the greedy descent: the paper's two choices, this project's four, or random ones as well."""

    ONES = "ones"
    HALF = "half"
    USUAL = "usual"
    MULTISTART = "multistart"


@dataclass(frozen=True, slots=True)
class KafetzisKoutsopoulos:
    """Greedy single steps of the cuts, largest decrease of total delay or variance first.

    A round has 2 N evaluations of O(N log N), computed in arrays. Choices that the paper leaves open:

    - The stop test is "no decrease" (printed as a strict increase).
    - p = 0 (everything offloaded) is allowed.
    - Local computing shares the processor with the device's background processes in infinitely small slots (equation 1
      for a short slot), and the device runs its first stages up to its cap: see `Device`.
    - Tasks start with one local stage, with half, with all, and with none, and the best end is kept. ``start`` selects
      one of the first two (the paper's choices), or adds random starts.
    - With ``pairs`` (this project) any task, or any two, change to any cuts, instead of one task by one stage.
    - Delays are those of the paper's snapshot, in which all offloaded parts are at the server at time 0. With
      ``event_driven`` the descent continues from the snapshot's best end with simulated delays.
    - The discipline is the policy's. All but round robin count as shortest job first in the snapshot.

    Variance is minimised for the objective ``delay_variance``, total delay otherwise. The answer's cost is always the
    common prediction.
    """

    traits: ClassVar[Traits] = Traits(objectives=DELAY_OBJECTIVES, cost_class=CostClass.SEARCH, joint=Joint.ON_A_FLEET)

    name: str = "kafetzis_koutsopoulos"
    description: str = "greedy cuts for all streams that share a server, for total delay or its variance"
    citation: str = (
        "Kafetzis & Koutsopoulos, DNN partitioning and inference task offloading in 6G resource-constrained networks"
    )
    trial: Trial | None = field(default=Trial(turn=110))
    event_driven: bool = False
    pairs: bool = False
    start: Start = Start.USUAL

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the best end of the greedy descent over all servers and starts."""
        if (count := sum(stream.jobs for stream in problem.streams)) > MAX_TASKS:
            return unsupported(problem, self.name, f"{count} jobs, more than {MAX_TASKS}")
        context, objective = context_of(problem, context), problem.policy.objective
        costs = context.costs
        everywhere = Offloads(context.network).everywhere()[: max(1, int(SERVERS_PER_SECOND * time_budget_s / count))]
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
                    end = improve_by_exchange(cuts, start, score, memory_check(costs, tasks), evaluations, seed)[0]
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
    """Return the end of the greedy descent from ``choice`` with simulated delays."""
    objective = costs.problem.policy.objective
    delays, allowed = (
        simulated_score(costs, choice.tasks, lambda delays_ms: _aggregate(delays_ms, objective)),
        memory_check(costs, choice.tasks),
    )

    def score(chosen: Index) -> Array:
        # Only choices that fit into memory are worth a simulation.
        kept = np.array([allowed(cuts) for cuts in chosen.tolist()])
        values = np.full(len(chosen), inf)
        if kept.any():
            values[kept] = delays(chosen[kept])
        return values

    end = greedy(choice.tasks, choice.cuts, score, jobs // len(choice.tasks))
    return CutChoice(choice.tasks, end, choice.value)


def greedy(tasks: Sequence[Offload], start: Sequence[int], score: Score, evaluations: int) -> list[int]:
    """Return the end of the descent in single steps of largest decrease: one index of a route per task.

    A step gives one task one stage more or one less at its source. The descent ends where no step decreases the score,
    or when a round would need more than what is left of ``evaluations``.

    Args:
        tasks: the tasks of one server.
        start: index of a route per task.
        score: values of many choices, [K, N] -> [K].
        evaluations: number of choices that may be scored.
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
        # The tolerance keeps rounding errors from counting as decreases, with which the descent might cycle.
        if not values[least] < value - 1e-12 * abs(value):
            return [int(cut) for cut in choice]
        choice, value = steps[least], float(values[least])


def _most_starts(start: Start) -> int:
    return {Start.ONES: 1, Start.HALF: 1, Start.USUAL: 4, Start.MULTISTART: 4 + RANDOM_STARTS}[start]


def starts(tasks: Sequence[Offload], start: Start = Start.USUAL, seed: int = 0) -> Iterator[list[int]]:
    """Yield one local stage, half of the stages, all local, none local (as far as each task's cuts go).

    `ONES` and `HALF` yield the first or the second alone, `MULTISTART` all four and RANDOM_STARTS random ones.
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


_MANY_VARIANTS = Trial(
    turn=190,
    objectives=DELAY_OBJECTIVES,
    limits=(BudgetLimit(ProblemSize.JOB_DEVICE_PAIRS, VARIANT_PAIRS_PER_SECOND, least_s=0.0),),
)

VARIANTS = (
    KafetzisKoutsopoulos(
        name="kafetzis_koutsopoulos:from_ones",
        description="greedy from one local stage each (as offered)",
        trial=_MANY_VARIANTS,
        start=Start.ONES,
    ),
    KafetzisKoutsopoulos(
        name="kafetzis_koutsopoulos:from_half",
        description="greedy from half of the stages (as offered)",
        trial=_MANY_VARIANTS,
        start=Start.HALF,
    ),
    KafetzisKoutsopoulos(
        name="kafetzis_koutsopoulos:multistart",
        description="greedy from random starts as well",
        trial=_MANY_VARIANTS,
        start=Start.MULTISTART,
    ),
    KafetzisKoutsopoulos(
        name="kafetzis_koutsopoulos:event_driven",
        description="steps judged by the simulation, not the snapshot",
        trial=_MANY_VARIANTS,
        event_driven=True,
    ),
    KafetzisKoutsopoulos(
        name="kafetzis_koutsopoulos:pairwise",
        description="one or two tasks change to any cuts, from random starts as well (this project)",
        trial=_MANY_VARIANTS,
        start=Start.MULTISTART,
        pairs=True,
    ),
)

# Tried by ``auto`` on larger problems than the variants, under the name of the strategy.
SIMULATED = KafetzisKoutsopoulos(trial=Trial(turn=115, objectives=DELAY_OBJECTIVES), event_driven=True)
