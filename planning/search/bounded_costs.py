"""The common cost prediction as far as it tells candidates apart, within an allowance of simulated work."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, isnan, nan

from planning.problem.plan import CostPrediction, Plan, StreamPlan
from planning.problem.problem import Problem, Stream
from planning.queueing.completion_times import LONG_BURST, worth_arrays
from planning.queueing.feed_forward import feeds_forward
from planning.search.cached_costs import CachedCosts
from shared.policy import Objective, QueueDiscipline

EVENTS_PER_SECOND = 400_000
"""How many ends of operations of long bursts may be simulated per second of time budget, all candidates together."""

IN_ARRAYS = 0.1
"""What an operation counts whose queue is computed in an array."""

SHARED = 5.0
"""What an operation counts where queues are not first come, first served."""

_SIMULATED = (Objective.MAKESPAN, Objective.TOTAL_DELAY, Objective.DELAY_VARIANCE)
"""Objectives whose cost is a simulation's."""

_UNTOLD = CostPrediction(nan, None, nan, nan, nan)


class BoundedCosts(CachedCosts):
    """Predicts what `CostModel` does, but leaves out what does not rank a plan until `completed` is asked for it.

    Left out (NaN) are predictions for single streams, and the makespan where the objective is not one of simulated
    times. A long burst whose simulation is more than what is left of the allowance is taken never to end (inf).

    Attributes:
        skipped: whether that has happened.
    """

    def __init__(self, problem: Problem, time_budget_s: float) -> None:
        """Start with the allowance of ``time_budget_s``."""
        super().__init__(problem)
        self.skipped = False
        self._left = EVENTS_PER_SECOND * time_budget_s
        self._whole = False

    def predict(
        self,
        plans: Mapping[str, StreamPlan],
        disciplines: Mapping[str, QueueDiscipline] | None = None,
        turns: Sequence[str] = (),
    ) -> CostPrediction:
        """Return what a whole plan costs; see the class for what is left out."""
        if self._whole or self.problem.policy.objective in _SIMULATED:
            return super().predict(plans, disciplines, turns)
        return self.predict_means(plans, nan)

    def predict_stream(self, stream: Stream, plan: StreamPlan) -> CostPrediction:
        """Return nothing yet; see the class."""
        return super().predict_stream(stream, plan) if self._whole else _UNTOLD

    def simulated_ms(
        self,
        plans: Mapping[str, StreamPlan],
        disciplines: Mapping[str, QueueDiscipline] | None,
        turns: Sequence[str],
    ) -> tuple[float, ...]:
        """Return when each job ends, inf where that would take too long."""
        jobs = sum(len(plan.order) for plan in plans.values())
        if jobs < LONG_BURST or self._whole or self._affords(plans, disciplines or {}, jobs):
            return super().simulated_ms(plans, disciplines, turns)
        self.skipped = True
        return (inf,) * jobs

    def cost(
        self,
        objective: Objective,
        plans: Mapping[str, StreamPlan],
        predicted: CostPrediction,
        disciplines: Mapping[str, QueueDiscipline] | None = None,
        turns: Sequence[str] = (),
    ) -> float:
        """Return the number that ``objective`` makes small; see `CostModel.cost`."""
        value = super().cost(objective, plans, predicted, disciplines, turns)
        return inf if isnan(value) else value

    def completed(self, plan: Plan) -> Plan:
        """Return ``plan`` with all that it is predicted to cost, whatever that takes."""
        told = [plan.predicted, *(own.predicted for own in plan.streams.values())]
        if plan.cost < inf and all(each is not None and not isnan(each.makespan_ms) for each in told):
            return plan
        self._whole = True
        predicted = self.predict(plan.streams, plan.disciplines, plan.turns)
        streams = {
            name: replace(own, predicted=predicted if len(plan.streams) == 1 else self._of_stream(name, own))
            for name, own in plan.streams.items()
        }
        cost = plan.cost
        if cost == inf:
            cost = self.cost(plan.objective, plan.streams, predicted, plan.disciplines, plan.turns)
        return replace(plan, streams=streams, predicted=predicted, cost=cost)

    def _of_stream(self, name: str, plan: StreamPlan) -> CostPrediction:
        return self.predict_stream(self.stream(name), plan)

    def _affords(self, plans: Mapping[str, StreamPlan], disciplines: Mapping[str, QueueDiscipline], jobs: int) -> bool:
        kinds = {
            (name, place): self.operations(self.stream(name), route)
            for name, plan in plans.items()
            for place, route in enumerate(plan.routes)
        }
        events = float(sum(plans[name].routes[place].jobs * len(kind) for (name, place), kind in kinds.items()))
        if any(discipline is not QueueDiscipline.FIFO for discipline in disciplines.values()):
            events *= SHARED
        elif worth_arrays(jobs, len(kinds)) and feeds_forward(list(kinds.values())):
            events *= IN_ARRAYS
        if events > self._left:
            return False
        self._left -= events
        return True
