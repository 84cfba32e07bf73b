"""A burst of identical jobs with any mix of cuts: what JPS approximates, nearly exactly and with a bound."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.planner.strategies.batch import best_cuts, best_uniform
from services.planner.strategies.johnson import Job
from services.planner.strategies.jps import solve_bursts
from shared.plan.plan import Infeasible, Plan
from shared.plan.problem import Problem


@dataclass(frozen=True, slots=True)
class Burst:
    """Any cut for the first and the last job, the best proportion of any two cuts between them, Johnson's order.

    All combinations are compared where there are few. Exact for the two-machine model of Duan & Wu then; O(k^4) for k
    useful cuts otherwise.
    """

    name: str = "burst"
    description: str = "burst of jobs to one server: head cut, tail cut and two middle cuts, Johnson's order"
    citation: str = "this project, on proposition 1 of Duan & Wu, Optimizing job offloading schedule"

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the best burst over all servers, for every stream."""
        return solve_bursts(problem, self.name, _choose, time_budget_s)


def _choose(curve: Sequence[Job], jobs: int) -> list[list[int]]:
    return [best_cuts(curve, jobs), best_uniform(curve, jobs)]
