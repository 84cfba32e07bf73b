"""The default: tries what fits the objective, returns the best plan and what is proved about it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from planning.cost.cost_model import CostModel
from planning.problem.plan import Constraint, Infeasible, Plan, Route, StreamPlan
from planning.problem.problem import Problem
from planning.scheduling.job_moves import moved_jobs
from planning.search.bounded_costs import BoundedCosts
from planning.search.device_network import DeviceNetwork
from planning.search.result import BOUND_SLACK, make_plan
from planning.strategies.brute_force import BruteForce
from planning.strategies.burst import Burst
from planning.strategies.dads import Dads
from planning.strategies.exhaustive import Exhaustive
from planning.strategies.fair_ranks import FairRanks
from planning.strategies.hps import Hps
from planning.strategies.hu_mishra import HuMishra
from planning.strategies.jps import Jps
from planning.strategies.kafetzis_koutsopoulos import KafetzisKoutsopoulos
from planning.strategies.local_only import LocalOnly
from planning.strategies.masud import Masud
from planning.strategies.masud_learned import MasudLearned
from planning.strategies.milp import Milp
from planning.strategies.mixed_routes import MixedRoutes
from planning.strategies.neurosurgeon import Neurosurgeon
from planning.strategies.rank_assignment import RankAssignment
from planning.strategies.remote_only import RemoteOnly
from planning.strategies.shortest_path import ShortestPath
from planning.strategies.strategy import Strategy
from planning.strategies.variants import variants
from shared.policy import Objective

LEARNED_STREAMS = 16
"""For how many streams a second of time budget pays for the learned partitioner, which may not be installed."""

LEARNED_BLOCKS = 1_000
"""How many blocks of all streams together a second of time budget pays the learned partitioner for."""

BALANCED_PAIRS = 200
"""For how many pairs of stream and device a second of time budget pays for balanced routes."""


GREEDY_PAIRS = 60
"""For how many pairs of job and device a second of budget pays for all variants of the greedy at a shared server."""

CROWD_PER_SECOND = 400
"""For how many streams a second of time budget pays for all strategies."""

SEQUENCED_PER_SECOND = 150_000
"""For how many jobs a second of budget pays for all strategies that put every single job in order."""

MIXED_PER_SECOND = 10_000
"""For how many jobs a second of budget pays for looking for one best route, where mixes of routes come close to all."""

MOVED_PER_SECOND = 16_000
"""How many jobs of a burst may be simulated per second of budget to make the best plan better, one job at a time."""

STARTS = 4
"""How many of the best candidates are made better so."""

POOLED = 24
"""How many routes of other candidates, those of the best first, jobs may move to."""

LEAST_BUDGET_S = 0.1
"""With less budget no fewer strategies are tried than with this."""

_SEQUENCING = (Jps, Hps, BruteForce)

_IN_CROWDS = (ShortestPath, MixedRoutes, Masud, Burst, HuMishra, Dads, RankAssignment, LocalOnly, RemoteOnly)
"""What is tried for a crowd: the cheapest of each kind."""


@dataclass(frozen=True, slots=True)
class Auto:
    """Solves exactly where that is possible; otherwise evaluates every candidate with the common cost prediction.

    Stops at the first plan that is proved optimal. The answer names the strategy that won. All published strategies are
    tried, in every variant; those of the greedy for shared servers where delays are the objective. What the time budget
    does not suffice for is named in the answer (``left_out``): strategies that many streams or jobs make too slow, and
    those with a plan that is too long a burst to be simulated. Of a burst without proof, single jobs then move to
    routes that other candidates have found, as long as that helps.
    """

    name: str = "auto"
    description: str = "picks by objective and structure, evaluates all candidates, proves optimality where it can"
    citation: str = "this project"

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the best plan of all candidates."""
        costs = BoundedCosts(problem, time_budget_s)
        best: Plan | None = None
        bound: float | None = None
        answers: list[Plan] = []
        failures: list[Infeasible] = []
        left_out: list[str] = []
        for strategy in _candidates(DeviceNetwork(problem, costs), time_budget_s, left_out):
            costs.skipped = False
            answer = strategy.solve(problem, seed=seed, time_budget_s=time_budget_s)
            if costs.skipped:
                left_out.append(strategy.name)
            if isinstance(answer, Infeasible):
                failures.append(answer)
                if isinstance(strategy, ShortestPath) and _is_final(answer):
                    return replace(answer, strategy=self.name)
                continue
            if answer.optimal:
                return costs.completed(answer)
            if bound is not None and answer.cost <= bound * (1 + BOUND_SLACK):
                return replace(costs.completed(answer), optimal=True, lower_bound=answer.cost)
            if answer.lower_bound is not None:
                bound = answer.lower_bound if bound is None else max(bound, answer.lower_bound)
            answers.append(answer)
            if best is None or _rank(answer) < _rank(best):
                best = answer
        if best is None:
            reasons = tuple(dict.fromkeys(reason for failure in failures for reason in failure.reasons))
            return Infeasible(self.name, problem.policy.objective, failures[0].reasons or reasons)
        best = _moved(self.name, costs, best, answers, int(MOVED_PER_SECOND * time_budget_s))
        best = replace(costs.completed(best), left_out=tuple(dict.fromkeys(left_out)))
        if bound is not None and best.cost <= bound * (1 + BOUND_SLACK):
            return replace(best, optimal=True, lower_bound=best.cost, left_out=())
        return replace(best, lower_bound=None if bound is None else min(bound, best.cost))


def _moved(strategy: str, costs: CostModel, best: Plan, answers: Sequence[Plan], jobs: int) -> Plan:
    """Return a better plan for the burst of a single stream, its jobs on the routes of all candidates, or ``best``."""
    problem = costs.problem
    if problem.policy.objective not in (Objective.MAKESPAN, Objective.TOTAL_DELAY) or len(problem.streams) > 1:
        return best
    (name,) = best.streams
    ranked = [answer.streams[name] for answer in sorted(answers, key=_rank)]
    stages = dict.fromkeys(route.stages for plan in ranked for route in plan.routes)
    if not 1 < problem.streams[0].jobs <= jobs // STARTS or len(stages) == 1:
        return best
    pool = [Route(each) for each in islice(stages, POOLED)]
    starts = dict.fromkeys((plan.routes, plan.order) for plan in ranked)
    for routes, order in islice(starts, STARTS):
        plans = moved_jobs(costs, {name: StreamPlan(routes, order)}, {name: pool}, jobs // STARTS)
        moved = make_plan(problem, strategy, plans, costs=costs)
        if isinstance(moved, Plan) and moved.cost < best.cost:
            best = moved
    return best


def _is_final(answer: Infeasible) -> bool:
    """Say whether it is proved that some stream has no route at all, whatever the others do."""
    return all(reason.constraint is not Constraint.SUPPORT for reason in answer.reasons)


def _rank(plan: Plan) -> tuple[float, float]:
    return plan.cost, plan.predicted.latency_ms


def _candidates(network: DeviceNetwork, time_budget_s: float, left_out: list[str]) -> Iterator[Strategy]:
    """Yield the strategies worth trying, the exact ones first; names of those that take too long go to ``left_out``."""
    streams, jobs = len(network.problem.streams), sum(stream.jobs for stream in network.problem.streams)
    crowded = streams > CROWD_PER_SECOND * max(LEAST_BUDGET_S, time_budget_s)
    long = jobs > SEQUENCED_PER_SECOND * max(LEAST_BUDGET_S, time_budget_s)
    many = jobs > MIXED_PER_SECOND * max(LEAST_BUDGET_S, time_budget_s)
    for strategy, pays in _applicable(network, time_budget_s):
        slow = not pays or (crowded and not isinstance(strategy, _IN_CROWDS))
        slow = slow or (long and isinstance(strategy, _SEQUENCING)) or (many and isinstance(strategy, Milp))
        slow = slow or (crowded and jobs == streams and isinstance(strategy, Burst))
        if slow:
            left_out.append(strategy.name)
        else:
            yield strategy


def _applicable(network: DeviceNetwork, time_budget_s: float) -> Iterator[tuple[Strategy, bool]]:
    """Yield the strategies for the objective, and whether the budget pays for them; they share what they look up."""
    problem = network.problem
    objective, jobs = problem.policy.objective, sum(stream.jobs for stream in problem.streams)
    yield ShortestPath(network=network), True
    if objective in (Objective.MAKESPAN, Objective.TOTAL_DELAY, Objective.DELAY_VARIANCE):
        pairs = len(problem.streams) * len(problem.devices)
        balanced = len(problem.streams) == 1 or pairs <= BALANCED_PAIRS * max(1.0, time_budget_s)
        yield ShortestPath(route_objective=Objective.THROUGHPUT, network=network), balanced
    if objective in (Objective.LATENCY, Objective.ENERGY, Objective.THROUGHPUT, Objective.DEADLINE):
        yield Milp(), True
    yield MixedRoutes(network=network), True
    yield Masud(network=network), True
    yield Jps(network=network), True
    yield Burst(network=network), True
    yield Hps(network=network), True
    yield HuMishra(network=network), True
    yield Dads(network=network), True
    yield RankAssignment(network=network), True
    yield KafetzisKoutsopoulos(network=network), True
    shared = objective in (Objective.TOTAL_DELAY, Objective.DELAY_VARIANCE)
    if shared:
        yield KafetzisKoutsopoulos(event_driven=True, network=network), True
    if objective in (Objective.DELAY_VARIANCE, Objective.MAKESPAN):
        yield FairRanks(network=network), True
    yield Neurosurgeon(network=network), True
    few = jobs * len(problem.devices) <= GREEDY_PAIRS * time_budget_s
    for variant in variants(network).values():
        if not isinstance(variant, KafetzisKoutsopoulos):
            yield variant, True
        elif shared:
            yield variant, few
    yield LocalOnly(network=network), True
    yield RemoteOnly(network=network), True
    yield Exhaustive(), True
    blocks = sum(len(problem.models[stream.model].blocks) for stream in problem.streams)
    few = len(problem.streams) <= LEARNED_STREAMS * time_budget_s
    yield MasudLearned(), few and blocks <= LEARNED_BLOCKS * max(1.0, time_budget_s)
