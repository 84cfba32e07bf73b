"""The default strategy: tries the candidates that fit the problem and returns the best plan with its proved bound."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import ClassVar

from planning.cost.cost_model import CostModel
from planning.problem.plan import Constraint, Infeasible, Plan, Violation
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
from planning.search.search_clock import ENDLESS, LEAST_TIME_S, OutOfTime, SearchClock
from planning.strategies.strategy import Strategy
from planning.strategies.traits import (
    ALL_OBJECTIVES,
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
        levels = _levels(context.network, time_budget_s)
        tallies = [_Tally(level.candidates_s, context.clock) for level in levels]
        if tallies[-1].budget_s < time_budget_s:
            tallies.append(_Tally(time_budget_s, context.clock, only_proofs=True))
        for tally in tallies:
            tally.clock = context.clock.within(
                min(CANDIDATES_SHARE * context.clock.left_s(), PATIENCE * max(LEAST_TIME_S, tally.budget_s))
            )
        # With a clock, the simulation of the chosen plan must not take longer than the rest of the search.
        last_events = inf
        if context.clock is not ENDLESS:
            last_events = max(LEAST_EVENTS, LAST_SHARE * EVENTS_PER_SECOND * time_budget_s)
        exact = CachedCosts(CostModel(problem, context.costs.links))
        final = self._collect_all(tallies, context, exact, seed, last_events)
        if final is not None:
            return final
        collected = [tally for tally in tallies if not tally.only_proofs]
        if not any(tally.plans for tally in collected):
            # Any plan is better than none, even if it is not one of a larger budget.
            collected, levels = tallies[-1:], levels[-1:]
        if not any(tally.plans for tally in collected):
            return Infeasible(self.name, problem.policy.objective, tallies[-1].reasons())
        bound = _bound(tallies, context, exact, time_budget_s)
        costs = BoundedCosts(exact, SimulationBudget.of_seconds(time_budget_s, last_events))
        best = self._finished(context, costs, levels, [tally.plans for tally in collected], bound, seed)
        best = replace(best, left_out=tuple(dict.fromkeys(collected[-1].left_out)))
        is_exact = not best.estimated or problem.policy.objective not in SIMULATED
        # Nothing that was left out can be better than a plan that is proved.
        if proves(bound, best.cost) and is_exact:
            return replace(best, optimal=True, lower_bound=best.cost, left_out=())
        return replace(best, lower_bound=None if bound is None else min(bound, best.cost))

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
        if clock is not ENDLESS and _is_long(context.problem):
            # The rest is for the last simulation.
            clock = clock.within(clock.left_s() / 2)
        starts = _ranked(plans, costs)
        return costs.completed(finished(self.name, context.network, costs, levels, starts, bound, seed, clock))

    def _collect_all(
        self,
        tallies: Sequence["_Tally"],
        context: PlanningContext,
        exact: CachedCosts,
        seed: int,
        last_events: float,
    ) -> Plan | Infeasible | None:
        """Fill the tallies, the smallest budget first; return the answer that ends the search."""
        problem = context.problem
        is_long = _is_long(problem)
        once: dict[str, Plan] = {}
        has_plan = False
        for tally in tallies:
            # What one level has simulated must not change how far the budget of another goes.
            known = CachedCosts(CostModel(problem, exact.links)) if is_long else exact
            # Not the context's costs: the simulations of all candidates of a level share one budget.
            budget = SimulationBudget.of_seconds(tally.budget_s, last_events)
            # Whatever the clock says, some plan is needed.
            clock = tally.clock if has_plan else ENDLESS
            costs = BoundedCosts(known, budget, clock)
            own = PlanningContext(problem, context.network, costs, clock)
            final = self._collect(tally, own, costs, seed, {} if is_long else once)
            if final is not None:
                return final
            has_plan = has_plan or bool(tally.plans)
        return None

    def _collect(
        self, tally: "_Tally", context: PlanningContext, costs: BoundedCosts, seed: int, once: dict[str, Plan]
    ) -> Plan | Infeasible | None:
        """Add the answers of all candidates at the budget of ``tally``; return the answer that ends the search.

        ``once`` holds the plans that do not depend on the budget, and is filled.
        """
        for strategy in self._tried(context.problem, tally):
            if tally.plans and context.clock is not tally.clock:
                costs.clock = tally.clock
                context = replace(context, clock=tally.clock)
            skipped = costs.budget.skipped
            answer: Plan | Infeasible | None = once.get(strategy.name)
            if answer is None:
                try:
                    context.clock.check()
                    answer = strategy.solve(context.problem, seed=seed, time_budget_s=tally.budget_s, context=context)
                except OutOfTime:
                    tally.left_out.append(strategy.name)
                    continue
            if isinstance(answer, Plan) and not strategy.traits.budgeted:
                once[strategy.name] = answer
            if costs.budget.skipped > skipped:
                tally.left_out.append(strategy.name)
            if isinstance(answer, Infeasible):
                tally.failures.append(answer)
                # Where no route exists, no other candidate can find one. Without a proof, tiles might help, at most.
                if answer.proved:
                    return replace(answer, strategy=self.name)
                if strategy.traits.proves_infeasibility and _is_final(answer):
                    tally.only_splitting = True
            elif answer.optimal:
                return costs.completed(answer)
            # The bound of an earlier candidate may prove the plan of a later one.
            elif proves(tally.bound, answer.cost):
                return replace(costs.completed(answer), optimal=True, lower_bound=answer.cost)
            else:
                tally.add(answer)
        return None

    def _tried(self, problem: Problem, tally: "_Tally") -> Iterator[Strategy]:
        """Yield the candidates for the problem by their turn, and note those that would take too long."""
        for strategy in self.candidates():
            trial = strategy.trial
            if trial is None:
                continue
            if problem.policy.objective not in trial.objectives or (tally.only_proofs and not strategy.traits.exact):
                continue
            if trial.last_resort and tally.plans:
                continue
            if tally.only_splitting and not strategy.traits.splits_stages:
                continue
            if trial.applies is not None and not trial.applies(problem):
                continue
            limits = (*strategy.traits.cost_class.limits, *trial.limits)
            if all(limit.allows(problem, tally.budget_s) for limit in limits):
                yield strategy
            else:
                tally.left_out.append(strategy.name)


@dataclass(slots=True)
class _Tally:
    """The answers of the candidates at one time budget.

    Attributes:
        budget_s: the time budget of every candidate.
        clock: ends the candidates once there is a plan.
        only_proofs: whether only exact candidates are tried, for a proof or a bound.
        only_splitting: whether only candidates that split stages into tiles are left, because no other has a plan.
        plans: plans without a proof, in the order of the trials.
        failures: answers without a plan.
        bound: the largest proved lower bound of the cost; None if there is none.
        left_out: strategies for which the time budget did not suffice.
    """

    budget_s: float
    clock: SearchClock
    only_proofs: bool = False
    only_splitting: bool = False
    plans: list[Plan] = field(default_factory=list)
    failures: list[Infeasible] = field(default_factory=list)
    bound: float | None = None
    left_out: list[str] = field(default_factory=list)

    def add(self, plan: Plan) -> None:
        """Note a plan and its bound."""
        self.plans.append(plan)
        if plan.lower_bound is not None:
            self.bound = plan.lower_bound if self.bound is None else max(self.bound, plan.lower_bound)

    def reasons(self) -> tuple[Violation, ...]:
        """Return the reasons of the first failure, or where it has none those of all."""
        return self.failures[0].reasons or tuple(
            dict.fromkeys(reason for failure in self.failures for reason in failure.reasons)
        )


def _is_long(problem: Problem) -> bool:
    return sum(stream.jobs for stream in problem.streams) >= LONG_BURST


def _bound(
    tallies: Sequence[_Tally], context: PlanningContext, exact: CachedCosts, time_budget_s: float
) -> float | None:
    """Return the largest proved lower bound of the cost; None if there is none."""
    # Imported here: most problems are proved by the first candidate.
    from planning.scheduling.restricted_bounds import raised_bound

    known = max((tally.bound for tally in tallies if tally.bound is not None), default=None)
    least = min(plan.cost for tally in tallies for plan in tally.plans)
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


def _is_final(answer: Infeasible) -> bool:
    """Return whether some stream has no route at all, whatever the others do: the search did not end early."""
    return all(reason.constraint is not Constraint.SUPPORT for reason in answer.reasons)
