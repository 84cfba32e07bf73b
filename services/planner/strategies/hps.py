"""HPS: bursts of different models from the same source, each job cut as JPS does, all started in one order."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from services.planner.strategies.batch import best_cuts, jps_cuts, virtual_blocks
from services.planner.strategies.diagnosis import diagnose
from services.planner.strategies.johnson import Job, johnson_order, makespan_ms
from services.planner.strategies.jps import burst_curves, sequence_plan
from services.planner.strategies.neurosurgeon import no_split
from services.planner.strategies.strategy import conclude
from shared.plan.plan import Infeasible, Plan, Route, StreamPlan
from shared.plan.problem import Problem

MAX_ORDERED_JOBS = 500_000
"""How many jobs are put in order at most, all changes of cuts together."""


@dataclass(frozen=True, slots=True)
class Hps:
    """Per stream the cuts of algorithm 2 (Duan & Wu), then Johnson's order over the union of all jobs.

    For chains the union of the jobs has no precedence, and algorithms 4 and 5 reduce to Johnson's rule;
    ``precedence`` has them, and the exact rule, for trees. With ``joint`` (this project) the cuts start from the best
    burst of every stream and single jobs change theirs as long as the makespan of the union falls. O(n log n) per
    evaluation. The jobs of all streams go to the helper that serves the first best.
    """

    name: str = "hps"
    description: str = "bursts of different models from one source: JPS cuts, one Johnson's order over all jobs"
    citation: str = "Duan & Wu, Optimizing job offloading schedule for collaborative DNN inference, section 5"
    joint: bool = False

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the best burst of all streams together."""
        curves = [burst_curves(problem, stream) for stream in problem.streams]
        for stream, curve in zip(problem.streams, curves, strict=True):
            if not curve:
                reasons = diagnose(problem, stream, time_budget_s) or (no_split(stream, self.name),)
                return Infeasible(self.name, problem.policy.objective, reasons)
        answers = [
            self._with_helper(problem, [curve.get(helper) or next(iter(curve.values())) for curve in curves])
            for helper in dict.fromkeys(helper for curve in curves for helper in curve)
        ]
        plans = [answer for answer in answers if isinstance(answer, Plan)]
        return min(plans, key=lambda plan: plan.predicted.makespan_ms) if plans else answers[0]

    def _with_helper(self, problem: Problem, entries: Sequence[list[tuple[Job, Route]]]) -> Plan | Infeasible:
        kept = [[entry[index] for index in virtual_blocks([job for job, _ in entry])] for entry in entries]
        curves = [[job for job, _ in entry] for entry in kept]
        choose = best_cuts if self.joint else jps_cuts
        cuts = [choose(curve, stream.jobs) for curve, stream in zip(curves, problem.streams, strict=True)]
        if self.joint:
            cuts = _improved(problem, curves, cuts)
        jobs = [(place, cut) for place, own in enumerate(cuts) for cut in own]
        order = johnson_order([curves[place][cut] for place, cut in jobs])
        plans: dict[str, StreamPlan] = {}
        for place, stream in enumerate(problem.streams):
            plans[stream.name] = sequence_plan([kept[place][jobs[i][1]][1] for i in order if jobs[i][0] == place])
        turns = [problem.streams[jobs[index][0]].name for index in order] if len(plans) > 1 else []
        return conclude(problem, self.name, plans, turns=turns)


def _improved(problem: Problem, curves: Sequence[Sequence[Job]], cuts: list[list[int]]) -> list[list[int]]:
    """Give single jobs another cut as long as the makespan of the union falls; jobs of a source share its machines."""
    shared = _by_source(problem)
    best_ms = _union_ms(shared, curves, cuts)
    left = MAX_ORDERED_JOBS
    while left > 0:
        options = [
            (_union_ms(shared, curves, changed), changed)
            for place, own in enumerate(cuts)
            for old in Counter(own)
            for new in range(len(curves[place]))
            if new != old
            for changed in [_with_change(cuts, place, old, new)]
        ]
        left -= len(options) * sum(len(own) for own in cuts)
        least_ms, changed = min(options, key=lambda option: option[0], default=(best_ms, cuts))
        if least_ms >= best_ms * (1 - 1e-9):
            break
        best_ms, cuts = least_ms, changed
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


def _union_ms(shared: list[list[int]], curves: Sequence[Sequence[Job]], cuts: list[list[int]]) -> float:
    longest_ms = 0.0
    for places in shared:
        jobs = [curves[place][cut] for place in places for cut in cuts[place]]
        longest_ms = max(longest_ms, makespan_ms([jobs[index] for index in johnson_order(jobs)]))
    return longest_ms
