"""Trials of the candidates of `auto` at one time budget, and what they leave for its choice."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from planning.problem.plan import Constraint, Infeasible, Plan, Violation
from planning.problem.problem import Problem
from planning.search.bounded_costs import BoundedCosts
from planning.search.planning_context import PlanningContext
from planning.search.result import proves
from planning.search.search_clock import ENDLESS, OutOfTime, SearchClock
from planning.strategies.strategy import Strategy

_LOGGER = logging.getLogger(__name__)


@dataclass(slots=True)
class CandidateTrials:
    """The answers of the candidates at one time budget.

    Attributes:
        strategy: name of the strategy that tries the candidates.
        budget_s: the time budget of every candidate.
        clock: ends the candidates once there is a plan.
        only_proofs: whether only exact candidates are tried, for a proof or a bound.
        only_splitting: whether only candidates that split stages into tiles are left, because no other has a plan.
        plans: plans without a proof, in the order of the trials.
        failures: answers without a plan.
        bound: the largest proved lower bound of the cost; None if there is none.
        left_out: strategies for which the time budget did not suffice, and those that failed.
    """

    strategy: str
    budget_s: float
    clock: SearchClock
    only_proofs: bool = False
    only_splitting: bool = False
    plans: list[Plan] = field(default_factory=list)
    failures: list[Infeasible] = field(default_factory=list)
    bound: float | None = None
    left_out: list[str] = field(default_factory=list)

    def run(
        self,
        candidates: Iterable[Strategy],
        context: PlanningContext,
        costs: BoundedCosts,
        *,
        seed: int,
        once: dict[str, Plan],
        has_plan: bool,
    ) -> Plan | Infeasible | None:
        """Try the candidates by their turns; return the answer that ends the search, if there is one.

        Args:
            candidates: strategies with a trial, by ascending turn.
            context: of the problem.
            costs: the cost model, with the budget of the simulations of all candidates.
            seed: of all randomness.
            once: the plans that do not depend on the budget; it is filled.
            has_plan: whether there is a plan already. Otherwise the clock does not end the trials before the first one.
        """
        for strategy in self._tried(candidates, context.problem):
            clock = self.clock if has_plan or self.plans else ENDLESS
            costs.clock = clock
            skipped = costs.budget.skipped
            answer: Plan | Infeasible | None = once.get(strategy.name)
            if answer is None:
                try:
                    clock.check()
                    own = PlanningContext(context.problem, context.network, costs, clock)
                    answer = strategy.solve(context.problem, seed=seed, time_budget_s=self.budget_s, context=own)
                except OutOfTime:
                    self.left_out.append(strategy.name)
                    continue
                except Exception as error:
                    # A fault of one strategy, or a package that is missing, must not keep the others from planning.
                    _LOGGER.error("strategy %s failed: %s: %s", strategy.name, type(error).__name__, error)
                    _LOGGER.debug("strategy %s failed", strategy.name, exc_info=error)
                    self.left_out.append(strategy.name)
                    continue
            if isinstance(answer, Plan) and not strategy.traits.budgeted:
                once[strategy.name] = answer
            if costs.budget.skipped > skipped:
                self.left_out.append(strategy.name)
            final = self._noted(strategy, answer, costs)
            if final is not None:
                return final
        return None

    def _noted(self, strategy: Strategy, answer: Plan | Infeasible, costs: BoundedCosts) -> Plan | Infeasible | None:
        """Note the answer of a candidate; return it if it ends the search."""
        if isinstance(answer, Infeasible):
            self.failures.append(answer)
            # Where no route exists, no other candidate can find one. Without a proof, tiles might help, at most.
            if answer.proved:
                return replace(answer, strategy=self.strategy)
            if strategy.traits.proves_infeasibility and _is_final(answer):
                self.only_splitting = True
            return None
        if answer.optimal:
            return costs.completed(answer)
        # The bound of an earlier candidate may prove the plan of a later one.
        if proves(self.bound, answer.cost):
            return replace(costs.completed(answer), optimal=True, lower_bound=answer.cost)
        self.plans.append(answer)
        if answer.lower_bound is not None:
            self.bound = answer.lower_bound if self.bound is None else max(self.bound, answer.lower_bound)
        return None

    def _tried(self, candidates: Iterable[Strategy], problem: Problem) -> Iterator[Strategy]:
        """Yield the candidates for the problem, and note those that would take too long."""
        for strategy in candidates:
            trial = strategy.trial
            if trial is None:
                continue
            if problem.policy.objective not in trial.objectives or (self.only_proofs and not strategy.traits.exact):
                continue
            if trial.last_resort and self.plans:
                continue
            if self.only_splitting and not strategy.traits.splits_stages:
                continue
            if trial.applies is not None and not trial.applies(problem):
                continue
            limits = (*strategy.traits.cost_class.limits, *trial.limits)
            if all(limit.allows(problem, self.budget_s) for limit in limits):
                yield strategy
            else:
                self.left_out.append(strategy.name)

    def reasons(self) -> tuple[Violation, ...]:
        """Return the reasons of the first failure, or where it has none those of all."""
        if not self.failures:
            message = f"{', '.join(self.left_out)} failed, or did not fit into the time budget"
            return (Violation(Constraint.SUPPORT, self.strategy, message),)
        return self.failures[0].reasons or tuple(
            dict.fromkeys(reason for failure in self.failures for reason in failure.reasons)
        )


def _is_final(answer: Infeasible) -> bool:
    """Return whether some stream has no route at all, whatever the others do: the search did not end early."""
    return all(reason.constraint is not Constraint.SUPPORT for reason in answer.reasons)
