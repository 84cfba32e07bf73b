"""JPS: a burst of identical jobs, cut at two neighbouring places and started in Johnson's order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.planner.strategies.batch import best_uniform, jps_cuts, virtual_blocks
from services.planner.strategies.candidates import keeps_constraints, splits
from services.planner.strategies.diagnosis import diagnose
from services.planner.strategies.johnson import Job, johnson_order
from services.planner.strategies.neurosurgeon import no_split
from services.planner.strategies.path_expansion import mix, path_cuts
from services.planner.strategies.strategy import conclude
from shared.plan.cost import CostModel
from shared.plan.pipeline import Work
from shared.plan.plan import Infeasible, Plan, Route, StreamPlan
from shared.plan.problem import Problem, Stream

Chooser = Callable[[Sequence[Job], int], list[list[int]]]
"""From (f, g) per cut and the number of jobs to candidate lists of cuts, one per job."""


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

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the best burst over all servers, for every stream."""
        return solve_bursts(problem, self.name, self._choose, time_budget_s, expand=True)

    def _choose(self, curve: Sequence[Job], jobs: int) -> list[list[int]]:
        mixed = jps_cuts(curve, jobs, floor_ratio=self.floor_ratio)
        return [mixed, best_uniform(curve, jobs)] if self.guard else [mixed]


def solve_bursts(
    problem: Problem, name: str, choose: Chooser, time_budget_s: float, *, expand: bool = False
) -> Plan | Infeasible:
    """Return the burst with the least predicted makespan over all servers, for every stream on its own.

    With ``expand``, algorithm 3's mixes of branching models are candidates too.
    """
    plans: dict[str, StreamPlan] = {}
    for stream in problem.streams:
        plan = _best_burst(problem, stream, choose, expand)
        if plan is None:
            reasons = diagnose(problem, stream, time_budget_s) or (no_split(stream, name),)
            return Infeasible(name, problem.policy.objective, reasons)
        plans[stream.name] = plan
    return conclude(problem, name, plans)


def burst_curves(problem: Problem, stream: Stream) -> dict[str, list[tuple[Job, Route]]]:
    """Return, per server, (f, g) and the route of every cut that keeps the constraints.

    f is the source's computing, g its sending, in ms. Running everything locally belongs to every server's curve.
    """
    costs = CostModel(problem)
    curves: dict[str, list[tuple[Job, Route]]] = {}
    local: list[tuple[Job, Route]] = []
    for route, helper, _ in splits(problem, stream):
        if not keeps_constraints(problem, stream, route):
            continue
        busy = costs.busy_ms(stream, route)
        entry = (busy.get((stream.source, Work.COMPUTE), 0.0), busy.get((stream.source, Work.SEND), 0.0)), route
        if helper == stream.source:
            local.append(entry)
        else:
            curves.setdefault(helper, []).append(entry)
    if not curves and local:
        return {stream.source: local}
    return {helper: curve + local for helper, curve in curves.items()}


def sequence_plan(routes: Sequence[Route]) -> StreamPlan:
    """Return the plan whose jobs take ``routes`` in exactly this order."""
    places: dict[Route, list[int]] = {}
    for place, route in enumerate(routes):
        places.setdefault(route, []).append(place)
    order = [0] * len(routes)
    start = 0
    for taken in places.values():
        for offset, place in enumerate(taken):
            order[place] = start + offset
        start += len(taken)
    return StreamPlan(tuple(Route(route.stages, len(taken)) for route, taken in places.items()), tuple(order))


def _best_burst(problem: Problem, stream: Stream, choose: Chooser, expand: bool) -> StreamPlan | None:
    branching = expand and problem.models[stream.model].edges is not None
    costs = CostModel(problem)
    best: tuple[float, StreamPlan] | None = None
    for helper, entries in burst_curves(problem, stream).items():
        kept = [entries[index] for index in virtual_blocks([job for job, _ in entries])]
        curve = [job for job, _ in kept]
        mixes = [[kept[cut] for cut in cuts] for cuts in choose(curve, stream.jobs)]
        if branching and helper != stream.source:
            mixes += _expanded(problem, stream, helper, entries)
        for chosen in mixes:
            order = johnson_order([job for job, _ in chosen])
            plan = sequence_plan([chosen[index][1] for index in order])
            total_ms = costs.makespan_ms({stream.name: plan})
            if best is None or total_ms < best[0]:
                best = total_ms, plan
    return None if best is None else best[1]


def _expanded(
    problem: Problem, stream: Stream, helper: str, entries: Sequence[tuple[Job, Route]]
) -> list[list[tuple[Job, Route]]]:
    """Return algorithm 3's mix along the cuts of the block order; nothing where a constraint forbids one of them."""
    if stream.model not in problem.devices[stream.source].block_ms:
        return []
    by_cut: dict[int, tuple[Job, Route]] = {}
    for entry in entries:
        stage = entry[1].stages[0]
        by_cut.setdefault(stage.stop if stage.device == stream.source else 0, entry)
    sets = path_cuts(problem, stream, helper)
    cuts = [sets[index].prefix for index in mix(sets, stream.jobs)]
    return [[by_cut[cut] for cut in cuts]] if all(cut in by_cut for cut in cuts) else []
