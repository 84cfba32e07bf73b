"""JPS: a burst of identical jobs, cut at two neighbouring places and started in Johnson's order."""

from dataclasses import dataclass, field

from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.scheduling.burst_planning import BurstCurve, solve_bursts
from planning.scheduling.identical_jobs import best_uniform, jps_cuts
from planning.search.device_network import DeviceNetwork, network_of


@dataclass(frozen=True, slots=True)
class Jps:
    """Algorithm 2 of Duan & Wu (binary search for the crossing of f and g, ratio of two cuts), then Johnson's order.

    O(B log B) per server after the curves. Resolutions: the ratio is rounded, not floored as printed, unless
    ``floor_ratio``; the best uniform cut is taken where it beats the mix, unless ``guard`` is off (the printed
    algorithm misses it); cuts that break a constraint are left out; with several servers the best one. The server's
    time, which the paper neglects, counts when candidates are compared. For a branching model algorithm 3 adds its mix
    (`path_expansion`), each local set widened to the next cut in block order, as routes are made of contiguous blocks.
    """

    name: str = "jps"
    description: str = "burst of jobs to one server: two neighbouring cuts, Johnson's order"
    citation: str = "Duan & Wu, Optimizing job offloading schedule for collaborative DNN inference, algorithms 1 and 2"
    floor_ratio: bool = False
    guard: bool = True
    network: DeviceNetwork | None = field(default=None, repr=False, compare=False)

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the best burst over all servers, for every stream."""
        return solve_bursts(network_of(problem, self.network), self.name, self._choose, time_budget_s)

    def _choose(self, curve: BurstCurve, jobs: int) -> list[list[int]]:
        kept = curve.blocks()
        useful = [curve.jobs[place] for place in kept]
        mixed = [jps_cuts(useful, jobs, floor_ratio=self.floor_ratio)]
        if self.guard:
            mixed.append(best_uniform(useful, jobs))
        return [[kept[cut] for cut in cuts] for cuts in mixed]
