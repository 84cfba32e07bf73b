"""JPS: a burst of identical jobs, cut at two neighbouring places and started in Johnson's order."""

from dataclasses import dataclass, field
from typing import ClassVar

from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.scheduling.burst_planning import BurstCurve, solve_bursts
from planning.scheduling.identical_jobs import best_uniform, jps_cuts
from planning.search.planning_context import PlanningContext, context_of
from planning.strategies.traits import BURST_OBJECTIVES, CostClass, Traits, Trial
from shared.policy import Objective


@dataclass(frozen=True, slots=True)
class Jps:
    """Algorithm 2 of Duan & Wu (binary search for the crossing of f and g, ratio of two cuts), then Johnson's order.

    O(B log B) per server after the curves. Choices that the printed algorithm leaves open, and differences where it
    misses a better plan:

    - The ratio is rounded instead of floored, unless ``floor_ratio``.
    - The best uniform cut is taken where it beats the mix, unless ``guard`` is off.
    - Cuts that break a constraint are left out.
    - With several servers, the best one is taken.
    - The server's time, which the paper neglects, counts when candidates are compared.
    - For a branching model algorithm 3 adds its mix (`path_expansion`). Each of its local sets is widened to the next
      cut in block order, because routes are made of contiguous blocks.
    """

    traits: ClassVar[Traits] = Traits(
        objectives=frozenset({Objective.MAKESPAN}), cost_class=CostClass.JOB_SEQUENCE, budgeted=False
    )

    name: str = "jps"
    description: str = "burst of jobs to one server: two neighbouring cuts, Johnson's order"
    citation: str = "Duan & Wu, Optimizing job offloading schedule for collaborative DNN inference, algorithms 1 and 2"
    trial: Trial | None = field(default=Trial(turn=50, objectives=BURST_OBJECTIVES))
    floor_ratio: bool = False
    guard: bool = True

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the best burst over all servers, for every stream."""
        return solve_bursts(context_of(problem, context), self.name, self._choose, time_budget_s)

    def _choose(self, curve: BurstCurve, jobs: int) -> list[list[int]]:
        kept = curve.blocks()
        useful = [curve.jobs[place] for place in kept]
        mixed = [jps_cuts(useful, jobs, floor_ratio=self.floor_ratio)]
        if self.guard:
            mixed.append(best_uniform(useful, jobs))
        return [[kept[cut] for cut in cuts] for cuts in mixed]


VARIANTS = (
    Jps(
        name="jps:as_printed",
        description="ratio of the two cuts floored, no guard",
        trial=Trial(turn=170, objectives=BURST_OBJECTIVES),
        floor_ratio=True,
        guard=False,
    ),
    Jps(
        name="jps:unguarded",
        description="ratio rounded, without the best uniform cut beside it",
        trial=Trial(turn=170, objectives=BURST_OBJECTIVES),
        guard=False,
    ),
)
