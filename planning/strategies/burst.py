"""A burst of identical jobs with any mix of cuts: what JPS approximates, nearly exactly."""

from dataclasses import dataclass, field

import numpy as np

from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.scheduling.burst_planning import BurstCurve, solve_bursts
from planning.scheduling.flow_shop import improve_cuts
from planning.scheduling.identical_jobs import best_cuts, best_uniform, jps_cuts, pareto_cuts
from planning.search.device_network import DeviceNetwork, network_of

UNIFORM = 3
"""How many of the best uniform cuts are simulated."""

MOVES_PER_SECOND = 100_000
"""How many jobs may be put through the flow shop per second of time budget, all servers together."""


@dataclass(frozen=True, slots=True)
class Burst:
    """Any cut for the first and the last job, the best proportion of any two cuts between them, Johnson's order.

    The cuts are those that no other beats in computing and sending, encodings and the input among them, so that the
    curve is monotone even where the chain is not. All combinations are compared where there are few; O(k^4) for k
    useful cuts otherwise. Then single jobs change their cut as long as that helps, the server's computing and sending
    counted as machines of their own. JPS's mixes and the best uniform cuts are candidates as well, so that a burst to
    one server is never slower than theirs.
    """

    name: str = "burst"
    description: str = "burst of jobs to one server: head cut, tail cut and two middle cuts, Johnson's order"
    citation: str = "this project, on proposition 1 of Duan & Wu, Optimizing job offloading schedule"
    network: DeviceNetwork | None = field(default=None, repr=False, compare=False)

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the best burst over all servers, for every stream."""
        streams, servers = len(problem.streams), max(1, len(problem.devices) - 1)
        moves = int(MOVES_PER_SECOND * time_budget_s / (streams * servers))

        def choose(curve: BurstCurve, jobs: int) -> list[list[int]]:
            return burst_mixes(curve, jobs, moves)

        return solve_bursts(network_of(problem, self.network), self.name, choose, time_budget_s)


def burst_mixes(curve: BurstCurve, jobs: int, moves: int) -> list[list[int]]:
    """Return candidates for a burst, each with one place in the curve per job.

    In this order: algorithm 2 of Duan & Wu, with the exact and with the floored ratio, and the best single cut, all on
    their virtual blocks; the best mix in Johnson's order (`best_cuts`); the single cuts that are the fastest through
    all machines; and what changing single jobs makes of that mix and of the fastest single cut (`improve_cuts`).

    Args:
        curve: the cuts to one server.
        jobs: of the burst.
        moves: how many jobs may be put through the machines, to improve.
    """
    kept, useful = curve.blocks(), pareto_cuts(curve.jobs)
    virtual, pareto = [curve.jobs[place] for place in kept], [curve.jobs[place] for place in useful]
    published = (jps_cuts(virtual, jobs), jps_cuts(virtual, jobs, floor_ratio=True), best_uniform(virtual, jobs))
    mixes = [[kept[cut] for cut in cuts] for cuts in published]
    mixes.append([useful[cut] for cut in best_cuts(pareto, jobs)])
    mixes += [[place] * jobs for place in np.argsort(curve.uniform_ms(jobs), kind="stable")[:UNIFORM].tolist()]
    stages = [curve.cuts.source_ms, curve.cuts.send_ms, curve.cuts.helper_ms, curve.cuts.return_ms, curve.cuts.sink_ms]
    machines = np.stack(stages)[:, list(curve.chosen)]
    machines = np.concatenate([machines[:2], machines[2:][machines[2:].any(axis=1)]])
    starts = mixes[len(published) : len(published) + 2]
    improved = [improve_cuts(machines, cuts, moves // len(starts)) for cuts in starts]
    return [*mixes, *improved]
