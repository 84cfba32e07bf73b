"""Total delay of tasks that share a server, exactly: an assignment of tasks to ranks in the server's queue."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.scheduling.shared_server import CutChoice, Offload, Offloads, best_choice, no_offload
from planning.search.device_network import DeviceNetwork, network_of
from planning.search.result import unsupported
from shared.policy import QueueDiscipline

MAX_RANKED = 2000
"""Above so many jobs the assignment takes too long."""

RANKED_PER_SECOND = 1_000_000
"""How many pairs of task and rank may be priced per second of time budget, all servers together; at least one is."""

JOBS_PER_SECOND = 1_000
"""How many jobs may be simulated per second of time budget, to compare servers."""


@dataclass(frozen=True, slots=True)
class RankAssignment:
    """The problem that Kafetzis & Koutsopoulos call hard is linear assignment: O(N^2 S + N^3), exact.

    A task of rank r among N adds its time at the server w_r times to the total: w_r = N - r + 1 under shortest job
    first, 2 (N - r) + 1 under fluid round robin. The best assignment ranks by size on its own (rearrangement), so it
    is what the discipline does. Exact for the snapshot in which all offloaded parts are at the server at time 0; the
    answer's cost is the common prediction, where parts arrive when they do.
    """

    name: str = "rank_assignment"
    description: str = "least total delay of all streams that share a server, by linear assignment"
    citation: str = "this project; problem: Kafetzis & Koutsopoulos; method: Kuhn, Naval Research Logistics 2, 1955"
    network: DeviceNetwork | None = field(default=None, repr=False, compare=False)

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the best assignment over all servers."""
        if (count := sum(stream.jobs for stream in problem.streams)) > MAX_RANKED:
            return unsupported(problem, self.name, f"{count} jobs, more than {MAX_RANKED}")
        network = network_of(problem, self.network)
        everywhere = Offloads(network).everywhere()[: max(1, int(RANKED_PER_SECOND * time_budget_s / count**2))]
        choices = [CutChoice(tasks, *assign(tasks, problem.policy.queue)) for tasks in everywhere]
        answer = best_choice(network.costs, self.name, choices, int(JOBS_PER_SECOND * time_budget_s))
        return answer or no_offload(problem, self.name, time_budget_s)


def assign(tasks: Sequence[Offload], discipline: QueueDiscipline) -> tuple[list[int], float]:
    """Return a route per task with the least total snapshot delay, and that total in ms.

    Args:
        tasks: of one server; per route what is before it and what it takes there, in ms.
        discipline: of the server; all but round robin are taken for shortest job first.
    """
    count = len(tasks)
    ahead = np.arange(count - 1, -1, -1)
    weights = 2 * ahead + 1 if discipline is QueueDiscipline.ROUND_ROBIN else ahead + 1
    price = np.array([(task.before_ms[:, None] + task.server_ms[:, None] * weights).min(axis=0) for task in tasks])
    rows, ranks = linear_sum_assignment(price)
    choice = [
        int((tasks[row].before_ms + tasks[row].server_ms * weights[rank]).argmin())
        for row, rank in zip(rows.tolist(), ranks.tolist(), strict=True)
    ]
    return choice, float(price[rows, ranks].sum())
