"""The finishing search for plans: from plans to jobs in starting order and back."""

from collections.abc import Mapping, Sequence

import numpy as np

from planning.cost.cost_model import CostModel
from planning.problem.job_order import start_places
from planning.problem.plan import Plan, StreamPlan
from planning.problem.problem import Problem
from planning.scheduling.burst_planning import sequence_plan
from planning.scheduling.finishing_search import FEWEST_EVALUATIONS, FinishingSearch
from planning.scheduling.route_forms import NodeTimes, RouteForms
from planning.scheduling.sequence_costs import OF_ENDS, Job
from planning.search.bounded_costs import rank
from planning.search.cost_tables import build_tables, table_size
from planning.search.device_network import DeviceNetwork
from planning.search.nested_budgets import BudgetLevel
from planning.search.result import BOUND_SLACK, make_plan, proves
from planning.search.search_clock import ENDLESS, SearchClock
from shared.policy import Objective

# Steps of jobs that the search may take per second of time budget. They take 0.4 to 0.7 s.
STEPS_PER_SECOND = 2_100_000

# Steps that any usual time budget pays for.
LEAST_WORK = 200_000

# Largest number of transfers in the arrays of all kinds of streams.
MAX_TRANSFERS = 400_000

# Largest number of streams.
MAX_STREAMS = 200

# Steps of a job, at least about.
USUAL_STEPS = 4

# Number of the best plans of a level that the search begins with.
STARTS = 12


def finished(
    name: str,
    network: DeviceNetwork,
    costs: CostModel,
    levels: Sequence[BudgetLevel],
    starts: Sequence[Sequence[Plan]],
    bound: float | None,
    seed: int,
    clock: SearchClock = ENDLESS,
) -> Plan:
    """Return the best of all plans, improved by the finishing search where that may help.

    Args:
        name: of the strategy, for plans that the search has found.
        network: devices, links and encodings of the problem.
        costs: its cost model.
        levels: the time budgets of the search.
        starts: the plans that join at every level, best first; some level has one.
        bound: a proved bound of the cost. The search ends when it is reached.
        seed: of all draws.
        clock: ends the search.
    """
    problem = network.problem
    best = min((plans[0] for plans in starts if plans), key=rank)
    if proves(bound, best.cost) or not _may_help(problem):
        return best
    finishing: PlanFinishing | None = None
    enough = 0.0 if bound is None else bound * (1 + BOUND_SLACK)
    waiting: list[Plan] = []
    for level, plans in zip(levels, starts, strict=True):
        waiting += plans[:STARTS]
        work = _work(level.improved_s)
        # Of a burst that is too long for the search, not even the first plans are simulated.
        if _is_too_long(problem, work) or clock.is_over():
            continue
        finishing = finishing or PlanFinishing(network, seed)
        for plan in waiting:
            # To look at a long burst takes long.
            if not clock.is_over():
                finishing.add(plan.streams, plan.turns)
        waiting = []
        improved = finishing.improved(work, enough, clock)
        if improved is not None:
            answer = make_plan(problem, name, improved[0], turns=improved[1], costs=costs)
            if isinstance(answer, Plan) and answer.cost < best.cost * (1 - BOUND_SLACK):
                best = answer
    return best


def _may_help(problem: Problem) -> bool:
    """Return whether shortest paths may miss the best plan: jobs wait for each other, or constraints bind."""
    if problem.policy.objective in OF_ENDS | {Objective.THROUGHPUT} or problem.policy.max_devices is not None:
        return True
    if any(device.memory_bytes is not None for device in problem.devices.values()):
        return True
    return any(problem.deadline_ms(stream) is not None for stream in problem.streams)


class PlanFinishing:
    """Improves plans of a problem that is small enough to be searched; of others it keeps none.

    Plans with tiles, and those that break constraints, are passed over.
    """

    def __init__(self, network: DeviceNetwork, seed: int) -> None:
        """Prepare for the problem of ``network``.

        Args:
            network: devices, links and encodings of the problem.
            seed: of all draws.
        """
        self._problem = network.problem
        self._forms: list[RouteForms] = []
        if _is_small(network):
            times: dict[tuple[str, tuple[str, ...]], NodeTimes] = {}
            for stream in self._problem.streams:
                tables = build_tables(self._problem, stream, network)
                key = stream.model, tables.nodes
                if key not in times:
                    times[key] = NodeTimes(tables)
                self._forms.append(RouteForms(self._problem, tables, times[key]))
        self._search = FinishingSearch(self._problem, self._forms, seed)

    def add(self, plans: Mapping[str, StreamPlan], turns: Sequence[str] = ()) -> None:
        """Add a plan to begin with.

        Args:
            plans: the plan of every stream.
            turns: the order in which the streams' jobs start; see `Plan.turns`.
        """
        jobs = self._jobs(plans, turns) if self._forms else None
        if jobs is not None:
            self._search.add_start(jobs)

    def improved(
        self, work: int, enough: float = 0.0, clock: SearchClock = ENDLESS
    ) -> tuple[dict[str, StreamPlan], tuple[str, ...]] | None:
        """Return the best plan and its turns, or None if no plan was added.

        Args:
            work: steps of the search, all calls together.
            enough: cost at which the search ends.
            clock: ends the search, too.
        """
        self._search.run(work, enough, clock)
        return self._plans(self._search.best) if self._search.best else None

    def _jobs(self, plans: Mapping[str, StreamPlan], turns: Sequence[str]) -> list[Job] | None:
        """Return the jobs of a plan in starting order; None if a route is not one of the search."""
        own: dict[str, list[Job]] = {}
        for index, (stream, forms) in enumerate(zip(self._problem.streams, self._forms, strict=True)):
            plan = plans[stream.name]
            known = [forms.of_route(route) for route in plan.routes]
            chosen = [form for form in known if form is not None]
            if len(chosen) < len(known):
                return None
            repeated = [form for form, route in zip(chosen, plan.routes, strict=True) for _ in range(route.jobs)]
            own[stream.name] = [(index, repeated[place]) for place in plan.order]
        return in_starting_order(plans, own, turns)

    def _plans(self, jobs: Sequence[Job]) -> tuple[dict[str, StreamPlan], tuple[str, ...]]:
        """Return the plans with these jobs in this order; turns only where they matter and are not the usual ones."""
        streams = self._problem.streams
        own: dict[str, list[Job]] = {stream.name: [] for stream in streams}
        for job in jobs:
            own[streams[job[0]].name].append(job)
        plans: dict[str, StreamPlan] = {}
        for stream, forms in zip(streams, self._forms, strict=True):
            routes = {form: forms.route(form) for _, form in dict.fromkeys(own[stream.name])}
            plans[stream.name] = sequence_plan([routes[form] for _, form in own[stream.name]])
        if self._problem.policy.objective not in OF_ENDS or in_starting_order(plans, own) == list(jobs):
            return plans, ()
        return plans, tuple(streams[index].name for index, _ in jobs)


def in_starting_order(
    plans: Mapping[str, StreamPlan], own: Mapping[str, Sequence[Job]], turns: Sequence[str] = ()
) -> list[Job]:
    """Return the jobs of all streams in the order in which they start.

    Args:
        plans: the plan of every stream.
        own: the jobs of every stream in their own order.
        turns: the order in which the streams' jobs start.
    """
    places = start_places(plans, turns)
    jobs = [job for name in plans for job in own[name]]
    ranks = np.concatenate([places[name] for name in plans])
    return [jobs[index] for index in np.argsort(ranks, kind="stable").tolist()]


def is_searched(network: DeviceNetwork) -> bool:
    """Return whether the problem is small enough for the finishing search at any usual time budget."""
    return _is_small(network) and not _is_too_long(network.problem, LEAST_WORK)


def _work(improved_s: float) -> int:
    return int(STEPS_PER_SECOND * improved_s)


def _is_too_long(problem: Problem, work: int) -> bool:
    return sum(stream.jobs for stream in problem.streams) * USUAL_STEPS * FEWEST_EVALUATIONS > work


def _is_small(network: DeviceNetwork) -> bool:
    problem = network.problem
    streams = problem.streams
    if len(streams) > MAX_STREAMS or len({stream.name for stream in streams}) < len(streams):
        return False
    sizes: dict[tuple[str, tuple[str, ...]], int] = {}
    for stream in streams:
        able = network.able(stream.model)
        # Streams of one model share arrays, unless source or sink join the devices that can run it.
        joining = tuple(
            dict.fromkeys(end for end in (stream.source, stream.sink) if end is not None and end not in able)
        )
        sizes[stream.model, joining] = table_size(network, stream, len(able) + len(joining))
    return sum(sizes.values()) <= MAX_TRANSFERS
