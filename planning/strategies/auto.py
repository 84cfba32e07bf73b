"""The default strategy: tries the candidates that fit the problem and returns the best plan with its proved bound."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import ClassVar

from planning.cost.cost_model import CostModel
from planning.problem.plan import Constraint, Infeasible, Plan, Route, StreamPlan, Violation
from planning.problem.problem import Problem
from planning.scheduling.job_moves import moved_jobs
from planning.search.bounded_costs import BoundedCosts, SimulationBudget
from planning.search.cached_costs import CachedCosts
from planning.search.planning_context import PlanningContext, context_of
from planning.search.result import BOUND_SLACK, make_plan
from planning.strategies.strategy import Strategy
from planning.strategies.traits import ALL_OBJECTIVES, CostClass, Joint, Traits, Trial
from shared.policy import Objective

# Jobs of a burst that may be simulated per second of time budget to improve the best plan, one job at a time.
MOVED_PER_SECOND = 16_000

# Number of the best candidates that are improved by job moves.
STARTS = 4

# Number of routes of other candidates to which jobs may move, those of the best candidate first.
POOLED = 24


@dataclass(frozen=True, slots=True)
class Auto:
    """An exact solution where that is possible, otherwise the best candidate by the common cost prediction.

    Every registered strategy and variant with a `Trial` is a candidate on the problems that its trial allows. The
    search ends at the first plan that is proved optimal. The answer names the strategy that won. Of a burst without
    proof, single jobs then move to routes that other candidates have found, as long as that helps.

    The answer's ``left_out`` names the strategies for which the time budget does not suffice. Many streams or jobs make
    them too slow, or their plan is a burst that is too long to be simulated.

    Attributes:
        candidates: returns the strategies to choose from.
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
        """Return the best plan of all candidates."""
        # Not the context's costs: the simulations of all candidates of this search share one budget.
        budget = SimulationBudget.of_seconds(time_budget_s)
        costs = BoundedCosts(CachedCosts(CostModel(problem)), budget)
        shared = PlanningContext(problem, context_of(problem, context).network, costs)
        tally = _Tally()
        for strategy in self._tried(problem, time_budget_s, tally):
            skipped = budget.skipped
            answer = strategy.solve(problem, seed=seed, time_budget_s=time_budget_s, context=shared)
            if budget.skipped > skipped:
                tally.left_out.append(strategy.name)
            if isinstance(answer, Infeasible):
                tally.failures.append(answer)
                # Where no route exists, no other candidate can find one. Without a proof, tiles might help, at most.
                if answer.proved or (strategy.traits.proves_infeasibility and _is_final(answer)):
                    return replace(answer, strategy=self.name)
            elif answer.optimal:
                return costs.completed(answer)
            # The bound of an earlier candidate may prove the plan of a later one.
            elif tally.is_proved(answer.cost):
                return replace(costs.completed(answer), optimal=True, lower_bound=answer.cost)
            else:
                tally.add(answer)
        if not tally.plans:
            return Infeasible(self.name, problem.policy.objective, tally.reasons())
        best = min(tally.plans, key=_rank)
        best = _moved(self.name, costs, best, tally.plans, int(MOVED_PER_SECOND * time_budget_s))
        best = replace(costs.completed(best), left_out=tuple(dict.fromkeys(tally.left_out)))
        # Nothing that was left out can be better than a plan that is proved after its moves.
        if tally.is_proved(best.cost):
            return replace(best, optimal=True, lower_bound=best.cost, left_out=())
        return replace(best, lower_bound=None if tally.bound is None else min(tally.bound, best.cost))

    def _tried(self, problem: Problem, time_budget_s: float, tally: "_Tally") -> Iterator[Strategy]:
        """Yield the candidates for the problem by their turn; note those that would take too long in ``tally``."""
        trials = [(each.trial, each) for each in self.candidates() if each.trial is not None]
        for trial, strategy in sorted(trials, key=lambda entry: entry[0].turn):
            if problem.policy.objective not in trial.objectives:
                continue
            if trial.last_resort and tally.plans:
                continue
            limits = (*strategy.traits.cost_class.limits, *trial.limits)
            if all(limit.allows(problem, time_budget_s) for limit in limits):
                yield strategy
            else:
                tally.left_out.append(strategy.name)


@dataclass(slots=True)
class _Tally:
    """The answers of the candidates so far.

    Attributes:
        plans: plans without a proof, in the order of the trials.
        failures: answers without a plan.
        bound: the largest proved lower bound of the cost; None if there is none.
        left_out: strategies for which the time budget did not suffice.
    """

    plans: list[Plan] = field(default_factory=list)
    failures: list[Infeasible] = field(default_factory=list)
    bound: float | None = None
    left_out: list[str] = field(default_factory=list)

    def add(self, plan: Plan) -> None:
        """Note a plan and its bound."""
        self.plans.append(plan)
        if plan.lower_bound is not None:
            self.bound = plan.lower_bound if self.bound is None else max(self.bound, plan.lower_bound)

    def is_proved(self, cost: float) -> bool:
        """Return whether the bound proves that no plan costs less."""
        return self.bound is not None and cost <= self.bound * (1 + BOUND_SLACK)

    def reasons(self) -> tuple[Violation, ...]:
        """Return the reasons of the first failure, or where it has none those of all."""
        return self.failures[0].reasons or tuple(
            dict.fromkeys(reason for failure in self.failures for reason in failure.reasons)
        )


def _moved(strategy: str, costs: CostModel, best: Plan, answers: Sequence[Plan], jobs: int) -> Plan:
    """Return ``best``, or for the burst of a single stream a better plan.

    Single jobs move to routes of all candidates, from the best few plans.

    Args:
        strategy: name of the algorithm.
        costs: the cost model.
        best: the best plan.
        answers: the plans of all candidates.
        jobs: number of jobs that may be simulated.
    """
    problem = costs.problem
    if problem.policy.objective not in (Objective.MAKESPAN, Objective.TOTAL_DELAY) or len(problem.streams) > 1:
        return best
    (name,) = best.streams
    ranked = [answer.streams[name] for answer in sorted(answers, key=_rank)]
    stages = dict.fromkeys(route.stages for plan in ranked for route in plan.routes)
    if not 1 < problem.streams[0].jobs <= jobs // STARTS or len(stages) == 1:
        return best
    pool = [Route(each) for each in islice(stages, POOLED)]
    # Every start gets the same share of the jobs that may be simulated.
    starts = dict.fromkeys((plan.routes, plan.order) for plan in ranked)
    for routes, order in islice(starts, STARTS):
        plans = moved_jobs(costs, {name: StreamPlan(routes, order)}, {name: pool}, jobs // STARTS)
        moved = make_plan(problem, strategy, plans, costs=costs)
        if isinstance(moved, Plan) and moved.cost < best.cost:
            best = moved
    return best


def _is_final(answer: Infeasible) -> bool:
    """Return whether some stream has no route at all, whatever the others do: the search did not end early."""
    return all(reason.constraint is not Constraint.SUPPORT for reason in answer.reasons)


def _rank(plan: Plan) -> tuple[float, float]:
    return plan.cost, plan.predicted.latency_ms
