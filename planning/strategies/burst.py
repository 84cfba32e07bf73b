"""Bursts of identical jobs with any mix of cuts: nearly the optimum that JPS approximates."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.scheduling.burst_planning import BurstCurve, solve_bursts
from planning.scheduling.flow_shop import improve_cuts
from planning.scheduling.identical_jobs import best_cuts, best_uniform, jps_cuts, pareto_cuts
from planning.search.device_network import kind_of
from planning.search.planning_context import PlanningContext, context_of
from planning.strategies.traits import BURST_OBJECTIVES, CROWD_PER_SECOND, BudgetLimit, CostClass, Traits, Trial
from shared.policy import Objective

# Number of the best uniform cuts that are simulated.
UNIFORM = 3

# Servers that may be examined per second of time budget, all kinds of streams together, and the least number of each.
SERVERS_PER_SECOND, LEAST_SERVERS = 60, 2

# Jobs that may pass through the flow shop per second of time budget, all servers together.
MOVES_PER_SECOND = 100_000


def single_job_streams(problem: Problem) -> int:
    """Return the number of streams if each of them has one job, otherwise 0.

    A crowd with real bursts is worth this strategy's time; a crowd of single jobs is not.
    """
    streams = len(problem.streams)
    return streams if all(stream.jobs == 1 for stream in problem.streams) else 0


@dataclass(frozen=True, slots=True)
class Burst:
    """Any cut for the first and the last job, the best proportion of any two cuts between them, Johnson's order.

    The cuts are those that no other beats in computing and sending. Encodings and the input are among them, so that
    the curve is monotone even where the chain is not. All combinations are compared where there are few. Otherwise the
    search takes O(k^4) for k useful cuts. Then single jobs change their cut as long as that helps; here the server's
    computing and sending count as machines of their own. JPS's mixes and the best uniform cuts are candidates as well,
    so that a burst to one server is never slower than theirs.

    The servers with the best single cuts are examined first. The time budget bounds their number.
    """

    traits: ClassVar[Traits] = Traits(objectives=frozenset({Objective.MAKESPAN}), cost_class=CostClass.PER_STREAM)

    name: str = "burst"
    description: str = "burst of jobs to one server: head cut, tail cut and two middle cuts, Johnson's order"
    citation: str = "this project, on proposition 1 of Duan & Wu, Optimizing job offloading schedule"
    trial: Trial | None = field(
        default=Trial(turn=60, objectives=BURST_OBJECTIVES, limits=(BudgetLimit(single_job_streams, CROWD_PER_SECOND),))
    )

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the best burst over all servers, for every stream."""
        kinds = len(set(map(kind_of, problem.streams)))
        servers = max(LEAST_SERVERS, int(SERVERS_PER_SECOND * time_budget_s / kinds))
        moves = int(MOVES_PER_SECOND * time_budget_s / (kinds * max(1, min(servers, len(problem.devices) - 1))))

        def choose(curve: BurstCurve, jobs: int) -> list[list[int]]:
            return burst_mixes(curve, jobs, moves)

        return solve_bursts(context_of(problem, context), self.name, choose, time_budget_s, servers)


def burst_mixes(curve: BurstCurve, jobs: int, moves: int) -> list[list[int]]:
    """Return candidates for a burst, each with one place in the curve per job.

    The candidates, in this order:

    - algorithm 2 of Duan & Wu with the exact and with the floored ratio, and the best single cut, all on their virtual
      blocks;
    - the best mix in Johnson's order (`best_cuts`);
    - the single cuts that are the fastest through all machines;
    - that mix and the fastest single cut, improved by changes of single jobs (`improve_cuts`).

    Args:
        curve: the cuts to one server.
        jobs: number of jobs of the burst.
        moves: number of jobs that may pass through the machines during the improvement.
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
