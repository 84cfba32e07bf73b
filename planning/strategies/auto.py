"""The default strategy: tries the candidates that fit the problem and returns the best plan with its proved bound."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import ClassVar

from planning.cost.cost_model import CostModel
from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.queueing.completion_times import LONG_BURST
from planning.search.bounded_costs import (
    EVENTS_PER_SECOND,
    SIMULATED,
    SKIPPED_MS,
    BoundedCosts,
    SimulationBudget,
    rank,
)
from planning.search.cached_costs import CachedCosts
from planning.search.device_network import DeviceNetwork
from planning.search.nested_budgets import BudgetLevel, least_candidates, nested_budgets
from planning.search.planning_context import PlanningContext, context_of
from planning.search.result import proves
from planning.search.search_clock import LEAST_TIME_S, OutOfTime, SearchClock
from planning.strategies.candidate_trials import CandidateTrials
from planning.strategies.strategy import Strategy
from planning.strategies.traits import (
    ALL_OBJECTIVES,
    BURST_OBJECTIVES,
    CROWD_PER_SECOND,
    LEAST_BUDGET_S,
    CostClass,
    Joint,
    Traits,
    Trial,
)
from shared.policy import Objective

# Where a clock ends the search: the latest end of all candidates, as a share of the time budget, and that of the
# candidates of a level, in budgets of the level. The rest is for the finishing search.
CANDIDATES_SHARE, PATIENCE = 0.5, 3.0

# The same: share of the time after the candidates in which the bound is raised.
BOUND_SHARE = 0.2

# Share of the time budget of a long burst that the plan of a short one may take.
SHORT_SHARE = 0.5

# The same: the share of the simulated work of a time budget that the simulation of the chosen plan may take, and the
# least such work, in ends of operations. The times of longer bursts are estimated.
LAST_SHARE, LEAST_EVENTS = 0.25, 20_000

# Number of the best plans that are too long to be simulated whose costs are estimated for comparison, and the work of
# each estimate.
ESTIMATED_PLANS, ESTIMATE_EVENTS = 4, 5_000


@dataclass(frozen=True, slots=True)
class Auto:
    """An exact solution where that is possible, otherwise the best candidate by the common cost prediction.

    Every registered strategy and variant with a `Trial` is a candidate on the problems that its trial allows. The
    search ends at the first plan that is proved optimal. The answer names the strategy that won. Without a proof the
    finishing search (`FinishingSearch`) begins with the best candidates. Its plans carry the name of `auto`.

    Candidates are tried at nested time budgets, the smallest first (`nested_budgets`), and the finishing search of a
    smaller budget is the beginning of that of a larger one. Where the variance of delays counts, they are tried at the
    smallest one only. So a larger budget never gives a worse plan, except below 0.1 s and for crowds of more than 40
    streams, whose candidates are tried at the whole budget only. Nor does it hold for bursts that are too long to be
    simulated, whose plans are ranked by an estimate.

    Of a burst of many jobs, a short one is planned first. Its plan, scaled up (`scaled_burst`), is one to begin with.

    Where the context has a clock, its end also ends the search: the answer is then the best plan so far. It is waited
    for the first plan in any case.

    The answer's ``left_out`` names the strategies for which the time budget does not suffice. Many streams or jobs make
    them too slow, or their plan is a burst that is too long to be simulated.

    Attributes:
        candidates: returns the strategies to choose from, by ascending turn of their trials.
    """

    traits: ClassVar[Traits] = Traits(
        objectives=ALL_OBJECTIVES,
        cost_class=CostClass.PER_STREAM,
        exact=True,
        joint=Joint.IN_A_PROBLEM,
        picks_among_others=True,
    )

    candidates: Callable[[], Iterable[Strategy]] = field(repr=False, compare=False)
    name: str = "auto"
    description: str = "picks by objective and structure, evaluates all candidates, proves optimality where it can"
    citation: str = "this project"
    trial: Trial | None = None

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the best plan of all candidates after the finishing search, or the first that is proved."""
        context = context_of(problem, context)
        short = self._short_plan(context, seed, SHORT_SHARE * time_budget_s)
        if short is not None:
            time_budget_s *= 1 - SHORT_SHARE
        levels = _levels(context.network, time_budget_s)
        trials = self._trials(levels, time_budget_s, context.clock)
        # With a clock, the simulation of the chosen plan must not take longer than the rest of the search.
        last_events = inf
        if context.clock.ends_s < inf:
            last_events = max(LEAST_EVENTS, LAST_SHARE * EVENTS_PER_SECOND * time_budget_s)
        exact = CachedCosts(CostModel(problem, context.costs.links))
        costs = BoundedCosts(exact, SimulationBudget.of_seconds(time_budget_s, last_events))
        start = None if short is None else _scaled(short, costs)
        final = self._tried(trials, context, exact, seed, last_events, has_plan=start is not None)
        if final is not None:
            return final
        kept = tuple(each for each in trials if not each.only_proofs)
        if not any(each.plans for each in kept):
            # Any plan is better than none, even if it is not one of a larger budget.
            kept, levels = trials[-1:], levels[-1:]
        if start is not None:
            kept[-1].plans.append(start)
        if not any(each.plans for each in kept):
            return Infeasible(self.name, problem.policy.objective, trials[-1].reasons())
        bound = _bound(trials, context, exact, time_budget_s)
        best = self._finished(context, costs, levels, [each.plans for each in kept], bound, seed)
        best = replace(best, left_out=tuple(dict.fromkeys(kept[-1].left_out)))
        is_exact = not best.estimated or problem.policy.objective not in SIMULATED
        # Nothing that was left out can be better than a plan that is proved.
        if proves(bound, best.cost) and is_exact:
            return replace(best, optimal=True, lower_bound=best.cost, left_out=())
        return replace(best, lower_bound=None if bound is None else min(bound, best.cost))

    def _trials(
        self, levels: Sequence[BudgetLevel], time_budget_s: float, clock: SearchClock
    ) -> tuple[CandidateTrials, ...]:
        """Return the trials to make, the smallest budget first."""
        budgets_s = [level.candidates_s for level in levels]
        # Where the levels stay below the whole budget, exact candidates have it for their proofs.
        only_proofs = [False] * len(levels)
        if budgets_s[-1] < time_budget_s:
            budgets_s.append(time_budget_s)
            only_proofs.append(True)
        ends_s = [min(CANDIDATES_SHARE * clock.left_s(), PATIENCE * max(LEAST_TIME_S, own_s)) for own_s in budgets_s]
        return tuple(
            CandidateTrials(self.name, own_s, clock.within(end_s), only_proofs=proofs)
            for own_s, end_s, proofs in zip(budgets_s, ends_s, only_proofs, strict=True)
        )

    def _short_plan(self, context: PlanningContext, seed: int, time_budget_s: float) -> Plan | None:
        """Return the plan of a shorter burst; None where the burst is short, or its length does not count."""
        problem = context.problem
        counts = problem.policy.objective is Objective.THROUGHPUT or problem.policy.objective in BURST_OBJECTIVES
        if not counts or all(stream.jobs == 1 for stream in problem.streams):
            return None
        # Imported here: most problems have no burst.
        from planning.scheduling.scaled_burst import shortened

        short = shortened(problem)
        if short is None:
            return None
        clock = context.clock.within(SHORT_SHARE * context.clock.left_s())
        own = context_of(short, clock=clock)
        answer = self.solve(short, seed=seed, time_budget_s=time_budget_s, context=own)
        return answer if isinstance(answer, Plan) else None

    def _finished(
        self,
        context: PlanningContext,
        costs: BoundedCosts,
        levels: Sequence[BudgetLevel],
        plans: Sequence[Sequence[Plan]],
        bound: float | None,
        seed: int,
    ) -> Plan:
        """Return the best of the plans of all levels after the finishing search, with all predictions."""
        # Imported here: most problems are proved by the first candidate.
        from planning.scheduling.plan_finishing import finished

        clock = context.clock
        if clock.ends_s < inf and _is_long(context.problem):
            # The rest is for the last simulation.
            clock = clock.within(clock.left_s() / 2)
        starts = _ranked(plans, costs)
        return costs.completed(finished(self.name, context.network, costs, levels, starts, bound, seed, clock))

    def _tried(
        self,
        trials: Sequence[CandidateTrials],
        context: PlanningContext,
        exact: CachedCosts,
        seed: int,
        last_events: float,
        *,
        has_plan: bool,
    ) -> Plan | Infeasible | None:
        """Make the trials; return the answer that ends the search."""
        problem = context.problem
        is_long = _is_long(problem)
        once: dict[str, Plan] = {}
        for each in trials:
            # What one level has simulated must not change how far the budget of another goes.
            known = CachedCosts(CostModel(problem, exact.links)) if is_long else exact
            # Not the context's costs: the simulations of all candidates of a level share one budget.
            costs = BoundedCosts(known, SimulationBudget.of_seconds(each.budget_s, last_events))
            final = each.run(
                self.candidates(), context, costs, seed=seed, once={} if is_long else once, has_plan=has_plan
            )
            if final is not None:
                return final
            has_plan = has_plan or bool(each.plans)
        return None


def _is_long(problem: Problem) -> bool:
    return sum(stream.jobs for stream in problem.streams) >= LONG_BURST


def _scaled(short: Plan, costs: BoundedCosts) -> Plan | None:
    """Return the plan of the long burst after that of the short one; None if it breaks a constraint."""
    # Imported here: most problems have no burst.
    from planning.scheduling.scaled_burst import scaled

    answer = scaled(short, costs, short.strategy)
    return answer if isinstance(answer, Plan) else None


def _bound(
    trials: Sequence[CandidateTrials], context: PlanningContext, exact: CachedCosts, time_budget_s: float
) -> float | None:
    """Return the largest proved lower bound of the cost; None if there is none."""
    # Imported here: most problems are proved by the first candidate.
    from planning.scheduling.restricted_bounds import raised_bound

    known = max((each.bound for each in trials if each.bound is not None), default=None)
    least = min(plan.cost for each in trials for plan in each.plans)
    clock = context.clock.within(BOUND_SHARE * context.clock.left_s())
    costs = BoundedCosts(exact, SimulationBudget.of_seconds(time_budget_s), clock)
    try:
        return raised_bound(context.network, costs, known, least, time_budget_s / 2)
    except OutOfTime:
        return known


def _ranked(levels: Sequence[Sequence[Plan]], costs: BoundedCosts) -> list[list[Plan]]:
    """Return the plans of every level, best first.

    The best of the plans whose simulation was skipped are estimated, and join the last level. The others are left out.
    """
    skipped: dict[str, Plan] = {}
    for plan in sorted((plan for plans in levels for plan in plans if plan.cost == SKIPPED_MS), key=rank):
        skipped.setdefault(plan.strategy, plan)
    estimated = [costs.completed(plan, ESTIMATE_EVENTS) for plan in [*skipped.values()][:ESTIMATED_PLANS]]
    known = [[plan for plan in plans if plan.cost != SKIPPED_MS] for plans in levels]
    known[-1] += estimated
    return [sorted(plans, key=rank) for plans in known]


def _levels(network: DeviceNetwork, time_budget_s: float) -> tuple[BudgetLevel, ...]:
    """Return the levels of the search.

    The candidates of a crowd are tried once, because they take most of the time. Where the variance of delays counts,
    they are tried at the smallest budget only: no candidate is made for it, and the finishing search is.
    """
    problem = network.problem
    if len(problem.streams) > CROWD_PER_SECOND * LEAST_BUDGET_S:
        return (BudgetLevel(time_budget_s, time_budget_s),)
    if problem.policy.objective is Objective.DELAY_VARIANCE:
        from planning.scheduling.plan_finishing import is_searched

        if is_searched(network):
            return least_candidates(time_budget_s)
    return nested_budgets(time_budget_s)
