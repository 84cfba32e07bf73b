"""Least total delay of tasks that share a server: an assignment of tasks to ranks in the server's queue."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.scheduling.shared_server import CutChoice, Offload, Offloads, best_choice, no_offload
from planning.search.planning_context import PlanningContext, context_of
from planning.search.result import unsupported
from planning.strategies.traits import BudgetLimit, CostClass, Joint, Traits, Trial
from shared.policy import Objective, QueueDiscipline

# Largest number of jobs; beyond it the assignment takes too long.
MAX_RANKED = 2000

# Pairs of task and rank that may be priced per second of time budget, all servers together; at least one server is.
RANKED_PER_SECOND = 1_000_000

# The third power of the jobs per second of time budget up to which `auto` tries the strategy: that of 1,400 jobs, whose
# assignment takes 1.2 s.
CUBED_PER_SECOND = 3e9

# Jobs that may be simulated per second of time budget, to compare servers.
JOBS_PER_SECOND = 1_000


def _cubed_jobs(problem: Problem) -> int:
    return int(sum(stream.jobs for stream in problem.streams) ** 3)


@dataclass(frozen=True, slots=True)
class RankAssignment:
    """The problem of Kafetzis & Koutsopoulos, which they call hard, solved as a linear assignment in O(N^2 S + N^3).

    A task of rank r among N adds its time at the server w_r times to the total. The weight is w_r = N - r + 1 under
    shortest job first, and 2 (N - r) + 1 under fluid round robin. By the rearrangement inequality the best assignment
    ranks tasks by their size, which is the order of the discipline. The result is exact for the snapshot in which all
    offloaded parts are at the server at time 0. The answer's cost is the common prediction with the true arrival times,
    for which nothing is proved.
    """

    traits: ClassVar[Traits] = Traits(
        objectives=frozenset({Objective.TOTAL_DELAY}), cost_class=CostClass.PER_STREAM, joint=Joint.ON_A_FLEET
    )

    name: str = "rank_assignment"
    description: str = "least total delay of all streams that share a server, by linear assignment"
    citation: str = "this project; problem: Kafetzis & Koutsopoulos; method: Kuhn, Naval Research Logistics 2, 1955"
    trial: Trial | None = field(default=Trial(turn=100, limits=(BudgetLimit(_cubed_jobs, CUBED_PER_SECOND),)))

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the best assignment over all servers."""
        if (count := sum(stream.jobs for stream in problem.streams)) > MAX_RANKED:
            return unsupported(problem, self.name, f"{count} jobs, more than {MAX_RANKED}")
        context = context_of(problem, context)
        everywhere = Offloads(context.network).everywhere()[: max(1, int(RANKED_PER_SECOND * time_budget_s / count**2))]
        choices = [CutChoice(tasks, *assign(tasks, problem.policy.queue)) for tasks in everywhere]
        answer = best_choice(context.costs, self.name, choices, int(JOBS_PER_SECOND * time_budget_s))
        return answer or no_offload(problem, self.name, time_budget_s)


def assign(tasks: Sequence[Offload], discipline: QueueDiscipline) -> tuple[list[int], float]:
    """Return a route per task with the least total snapshot delay, and that total in ms.

    Args:
        tasks: the tasks of one server; per route the time before the server and the time at it, in ms.
        discipline: the server's; all but round robin count as shortest job first.
    """
    count = len(tasks)
    ahead = np.arange(count - 1, -1, -1)
    weights = 2 * ahead + 1 if discipline is QueueDiscipline.ROUND_ROBIN else ahead + 1
    # price[i, r]: what task i adds to the total delay at rank r, on the route that is best there.
    price = np.array([(task.before_ms[:, None] + task.server_ms[:, None] * weights).min(axis=0) for task in tasks])
    # SciPy takes longer to import than small problems take to solve, so it is imported when it is needed.
    from scipy.optimize import linear_sum_assignment

    rows, ranks = linear_sum_assignment(price)
    choice = [
        int((tasks[row].before_ms + tasks[row].server_ms * weights[rank]).argmin())
        for row, rank in zip(rows.tolist(), ranks.tolist(), strict=True)
    ]
    return choice, float(price[rows, ranks].sum())
