"""Duan & Wu's baseline BF: every choice of cuts for the jobs of a burst, each in Johnson's order."""

from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from math import comb
from typing import ClassVar

from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.scheduling.burst_planning import BurstCurve, burst_curves, solve_bursts
from planning.scheduling.identical_jobs import ordered_makespan_ms
from planning.search.planning_context import PlanningContext, context_of
from planning.search.result import unsupported
from planning.search.two_device_splits import split_table
from planning.strategies.traits import CostClass, Traits, Trial
from shared.policy import Objective

# Choices of cuts per second of time budget, for bursts of at most USUAL_JOBS jobs; longer ones count more.
CHOICES_PER_SECOND = 3_000
USUAL_JOBS = 10


@dataclass(frozen=True, slots=True)
class BruteForce:
    """Comparison of all C(n + k - 1, n) multisets of k cuts for n jobs.

    Exact on the cuts that virtual blocking leaves, with the server's time neglected as in the paper. Larger bursts
    than the time budget allows are unsupported.
    """

    traits: ClassVar[Traits] = Traits(objectives=frozenset({Objective.MAKESPAN}), cost_class=CostClass.JOB_SEQUENCE)

    name: str = "jps:brute_force"
    description: str = "baseline BF: every choice of cuts for the jobs of a burst; small bursts only"
    citation: str = "Duan & Wu, Optimizing job offloading schedule for collaborative DNN inference, section 6"
    trial: Trial | None = field(default=Trial(turn=170))

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the best choice for every stream on its own."""
        context = context_of(problem, context)
        limit = 300 + int(CHOICES_PER_SECOND * time_budget_s)
        for stream in problem.streams:
            curves = burst_curves(split_table(problem, stream, context.network)).values()
            choices = sum(comb(stream.jobs + len(curve.blocks()) - 1, stream.jobs) for curve in curves)
            size = choices * max(1.0, stream.jobs / USUAL_JOBS)
            if size > limit:
                message = f"about {size:.3g} choices of cuts for stream {stream.name}, more than {limit}"
                return unsupported(problem, self.name, message)
        return solve_bursts(context, self.name, _all_choices, time_budget_s)


def _all_choices(curve: BurstCurve, jobs: int) -> list[list[int]]:
    options = (list(choice) for choice in combinations_with_replacement(curve.blocks(), jobs))
    return [min(options, key=lambda option: ordered_makespan_ms(curve.jobs, option))]
