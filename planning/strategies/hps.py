"""HPS: bursts of different models from the same source, each job cut as JPS does, all started in one order."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import ClassVar

from planning.cost.cost_model import CostModel
from planning.problem.plan import Infeasible, Plan, Route
from planning.problem.problem import Problem
from planning.scheduling.burst_planning import BurstCurve, burst_curves, grouped_plan
from planning.scheduling.flow_shop import JobTimes, groups_makespan_ms, johnson_key
from planning.scheduling.identical_jobs import best_cuts, jps_cuts, pareto_cuts
from planning.search.planning_context import PlanningContext, context_of
from planning.search.result import make_plan
from planning.search.stream_by_stream import no_plan_for
from planning.search.two_device_splits import split_table
from planning.strategies.traits import BURST_OBJECTIVES, CostClass, Joint, Traits, Trial
from shared.policy import Objective

# Jobs that may be put in order per second of time budget, all changes of cuts together.
MOVES_PER_SECOND = 100_000

# Pairs of stream and helper that may be examined per second of time budget.
HELPERS_PER_SECOND = 100


@dataclass(frozen=True, slots=True)
class Hps:
    """Per stream the cuts of algorithm 2 (Duan & Wu), then Johnson's order over the union of all jobs.

    For chains the union of the jobs has no precedence, and algorithms 4 and 5 reduce to Johnson's rule. With ``joint``
    (this project) the cuts start from the best burst of every stream. Then single jobs change theirs as long as the
    makespan of the union falls. An evaluation takes O(n log n). The jobs of all streams go to one helper. The helpers
    that most streams can use, and that serve a stream best, are tried.
    """

    # Joint in a problem only: the turns of several streams say which job starts first, and sources do not keep an order
    # among each other.
    traits: ClassVar[Traits] = Traits(
        objectives=frozenset({Objective.MAKESPAN}), cost_class=CostClass.JOB_SEQUENCE, joint=Joint.IN_A_PROBLEM
    )

    name: str = "hps"
    description: str = "bursts of different models from one source: JPS cuts, one Johnson's order over all jobs"
    citation: str = "Duan & Wu, Optimizing job offloading schedule for collaborative DNN inference, section 5"
    trial: Trial | None = field(default=Trial(turn=70, objectives=BURST_OBJECTIVES))
    joint: bool = False

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the best burst of all streams together."""
        context = context_of(problem, context)
        network, costs = context.network, context.costs
        curves = [burst_curves(split_table(problem, stream, network)) for stream in problem.streams]
        for stream, curve in zip(problem.streams, curves, strict=True):
            if not curve:
                return no_plan_for(problem, stream, self.name, time_budget_s)
        helpers = _busiest(curves, max(1, int(HELPERS_PER_SECOND * time_budget_s / len(curves))))
        moves = int(MOVES_PER_SECOND * time_budget_s / len(helpers)) if self.joint else 0
        answers = [
            self._with_helper(costs, [curve.get(helper) or next(iter(curve.values())) for curve in curves], moves)
            for helper in helpers
        ]
        plans = [answer for answer in answers if isinstance(answer, Plan)]
        if len(plans) < 2:
            return plans[0] if plans else answers[0]
        return min(plans, key=lambda plan: costs.makespan_ms(plan.streams, plan.disciplines, plan.turns))

    def _with_helper(self, costs: CostModel, curves: Sequence[BurstCurve], moves: int) -> Plan | Infeasible:
        problem = costs.problem
        kept = [pareto_cuts(curve.jobs) if self.joint else curve.blocks() for curve in curves]
        useful = [[curve.jobs[place] for place in own] for curve, own in zip(curves, kept, strict=True)]
        choose = best_cuts if self.joint else jps_cuts
        cuts = [choose(jobs, stream.jobs) for jobs, stream in zip(useful, problem.streams, strict=True)]
        if moves:
            cuts = _improved(problem, useful, cuts, moves)
        counts = Counter((place, cut) for place, own in enumerate(cuts) for cut in own)
        order = sorted(counts, key=lambda entry: johnson_key(useful[entry[0]][entry[1]]))
        taken: list[list[tuple[Route, int]]] = [[] for _ in curves]
        turns: list[str] = []
        for place, cut in order:
            taken[place].append((curves[place].route(kept[place][cut]), counts[place, cut]))
            turns += [problem.streams[place].name] * (counts[place, cut] if len(curves) > 1 else 0)
        plans = {stream.name: grouped_plan(own) for stream, own in zip(problem.streams, taken, strict=True)}
        return make_plan(problem, self.name, plans, turns=turns, costs=costs)


def _busiest(curves: Sequence[Mapping[str, BurstCurve]], most: int) -> list[str]:
    """Return up to ``most`` helpers: first those that most streams can use, of these the quickest for a stream."""
    rank: dict[str, tuple[int, float]] = {}
    for curve in curves:
        for helper, own in curve.items():
            streams, total_ms = rank.get(helper, (0, 0.0))
            rank[helper] = streams + 1, total_ms + float(own.uniform_ms(1).min())
    return sorted(rank, key=lambda helper: (-rank[helper][0], rank[helper][1]))[:most]


def _improved(
    problem: Problem, curves: Sequence[Sequence[JobTimes]], cuts: list[list[int]], moves: int
) -> list[list[int]]:
    """Give single jobs another cut as long as the makespan of the union falls.

    The jobs of one source share its machines, so each source has a union of its own.

    Ends when ``moves`` jobs have been put in order.
    """
    shared = _by_source(problem)
    times_ms = [_union_ms(places, curves, cuts) for places in shared]
    improving = True
    while improving and moves > 0:
        improving = False
        # Sources work side by side, so only the slowest one decides the makespan.
        group = max(range(len(shared)), key=times_ms.__getitem__)
        size = sum(len(cuts[place]) for place in shared[group])
        options = []
        for place in shared[group]:
            for old, new in product(dict.fromkeys(cuts[place]), range(len(curves[place]))):
                if new != old and moves > 0:
                    changed = _with_change(cuts, place, old, new)
                    options.append((_union_ms(shared[group], curves, changed), changed))
                    # An evaluation puts all jobs of the source in order.
                    moves -= size
        least_ms, changed = min(options, key=lambda option: option[0], default=(times_ms[group], cuts))
        if least_ms < times_ms[group] * (1 - 1e-9):
            cuts, times_ms[group], improving = changed, least_ms, True
    return cuts


def _with_change(cuts: list[list[int]], place: int, old: int, new: int) -> list[list[int]]:
    changed = [list(own) for own in cuts]
    changed[place][changed[place].index(old)] = new
    return changed


def _by_source(problem: Problem) -> list[list[int]]:
    """Return the places of the streams of every source."""
    places: dict[str, list[int]] = {}
    for place, stream in enumerate(problem.streams):
        places.setdefault(stream.source, []).append(place)
    return list(places.values())


def _union_ms(places: Sequence[int], curves: Sequence[Sequence[JobTimes]], cuts: Sequence[Sequence[int]]) -> float:
    counts = Counter(curves[place][cut] for place in places for cut in cuts[place])
    return groups_makespan_ms((job, counts[job]) for job in sorted(counts, key=johnson_key))


VARIANTS = (
    Hps(
        name="hps:joint",
        description="cuts of all streams improved together (this project)",
        trial=Trial(turn=180, objectives=BURST_OBJECTIVES),
        joint=True,
    ),
)
