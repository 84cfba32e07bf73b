"""A cost model that predicts only the figures that rank candidates, within a budget of simulations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf, isnan, nan

from planning.cost.cost_model import CostModel
from planning.cost.route_costs import RouteCost
from planning.problem.crossings import Encoding
from planning.problem.plan import CostPrediction, Plan, Route, StreamPlan
from planning.problem.problem import Stream
from planning.queueing.completion_times import LONG_BURST, worth_arrays
from planning.queueing.feed_forward import feeds_forward
from planning.queueing.operations import Operation
from planning.search.batched_costs import BatchedCosts
from planning.search.cached_costs import CachedCosts
from planning.search.search_clock import ENDLESS, SearchClock
from shared.policy import Objective, QueueDiscipline

# Ends of operations of long bursts that may be simulated per second of time budget, all candidates together.
EVENTS_PER_SECOND = 400_000

# Weight of an operation whose queue is computed in an array.
IN_ARRAYS = 0.1

# Weight of an operation where queues are not first come, first served.
SHARED = 5.0

# The end of a job whose simulation was skipped. No simulated job has it, and it ranks a plan behind all others.
SKIPPED_MS = inf

# By how much the estimated cost of a plan that was not simulated is taken for larger when plans are ranked.
PESSIMISM = 1.2

# A figure that does not rank plans, and is not predicted before `BoundedCosts.completed`.
NOT_PREDICTED = nan

# Objectives whose cost is a simulation's.
SIMULATED = (Objective.MAKESPAN, Objective.TOTAL_DELAY, Objective.DELAY_VARIANCE)

_NO_PREDICTION = CostPrediction(NOT_PREDICTED, None, NOT_PREDICTED, NOT_PREDICTED, NOT_PREDICTED)


def rank(plan: Plan) -> tuple[float, float]:
    """Return a key that sorts plans, best first: by their cost, then by the latency of a request.

    The cost of a plan whose simulation was skipped is estimated, and taken for somewhat larger.
    """
    cost = plan.cost if plan.cost != SKIPPED_MS else PESSIMISM * _estimated_cost(plan)
    return cost, plan.predicted.latency_ms


def _estimated_cost(plan: Plan) -> float:
    """Return the cost of a long burst whose jobs end one by one, each after the bottleneck's busy time of a job."""
    jobs, throughput_hz = sum(len(own.order) for own in plan.streams.values()), plan.predicted.throughput_hz
    last_ms = 0.0 if throughput_hz is None else 1000 * jobs / throughput_hz
    match plan.objective:
        case Objective.TOTAL_DELAY:
            return jobs * last_ms / 2
        case Objective.DELAY_VARIANCE:
            # The variance of a uniform distribution.
            return last_ms**2 / 12
        case _:
            return last_ms


@dataclass(slots=True)
class SimulationBudget:
    """The simulated work that is left, and how often it did not suffice.

    Only `take` changes a budget.

    Attributes:
        events: ends of operations that may still be simulated, weighted.
        skipped: number of simulations that were too large for the work that was left.
        last_events: bound of the last simulation, of the chosen plan. The times of a longer burst are estimated
            (`BatchedCosts`). Without a bound they take however long they take.
    """

    events: float
    skipped: int = 0
    last_events: float = inf

    @classmethod
    def of_seconds(cls, time_budget_s: float, last_events: float = inf) -> "SimulationBudget":
        """Return the budget of a search that may last for ``time_budget_s``."""
        return cls(EVENTS_PER_SECOND * time_budget_s, last_events=last_events)

    def take(self, events: float) -> bool:
        """Take the work of a simulation out of the budget; return False, and count a skip, if too little is left."""
        if events > self.events:
            self.skipped += 1
            return False
        self.events -= events
        return True


class BoundedCosts(CostModel):
    """The predictions of ``exact`` that rank plans; `completed` adds the other figures of the chosen plan.

    Left out (`NOT_PREDICTED`) are predictions for single streams, and the makespan where the objective is not one of
    simulated times. The jobs of a long burst end at `SKIPPED_MS` where ``budget`` does not suffice for its simulation.

    Attributes:
        exact: the cost model without limits, whose cache this one shares.
        budget: the simulations of long bursts that are left.
        clock: every prediction before `completed` raises `OutOfTime` after its end.
    """

    def __init__(self, exact: CachedCosts, budget: SimulationBudget, clock: SearchClock = ENDLESS) -> None:
        """Predict what ``exact`` does, within ``budget``."""
        super().__init__(exact.problem, exact.links)
        self.exact = exact
        self.budget = budget
        self.clock = clock

    def operations(self, stream: Stream, route: Route) -> tuple[Operation, ...]:
        """Return the operations of a request on ``route``, in order; see `CostModel.operations`."""
        self.clock.check()
        return self.exact.operations(stream, route)

    def route_cost(self, stream: Stream, route: Route) -> RouteCost:
        """Return the costs of one request on ``route``; see `CostModel.route_cost`."""
        self.clock.check()
        return self.exact.route_cost(stream, route)

    def allowed(self, model: str, cut: int) -> tuple[Encoding, ...]:
        """Return the encodings that the policy allows at a cut of ``model``."""
        return self.exact.allowed(model, cut)

    def predict(
        self,
        plans: Mapping[str, StreamPlan],
        disciplines: Mapping[str, QueueDiscipline] | None = None,
        turns: Sequence[str] = (),
    ) -> CostPrediction:
        """Return the costs of a whole plan, without the makespan where it does not rank plans."""
        self.clock.check()
        if self.problem.policy.objective in SIMULATED:
            return super().predict(plans, disciplines, turns)
        return self.predict_means(plans, NOT_PREDICTED)

    def predict_stream(self, stream: Stream, plan: StreamPlan) -> CostPrediction:
        """Return a prediction without figures: those of single streams rank no plan."""
        return _NO_PREDICTION

    def delays_ms(
        self,
        plans: Mapping[str, StreamPlan],
        disciplines: Mapping[str, QueueDiscipline] | None = None,
        turns: Sequence[str] = (),
    ) -> tuple[float, ...]:
        """Return when each job ends, in ms; `SKIPPED_MS` for all where the budget does not suffice."""
        jobs = sum(len(plan.order) for plan in plans.values())

        def simulate() -> tuple[float, ...] | None:
            # Short bursts take little work, so they are simulated without regard to the budget.
            if jobs < LONG_BURST or self.budget.take(self._events(plans, disciplines or {}, jobs)):
                return self.exact.new_delays_ms(plans, disciplines, turns)
            return None

        ends_ms = self.exact.remembered_ms(plans, disciplines, turns, simulate)
        return (SKIPPED_MS,) * jobs if ends_ms is None else ends_ms

    def cost(
        self,
        objective: Objective,
        plans: Mapping[str, StreamPlan],
        predicted: CostPrediction,
        disciplines: Mapping[str, QueueDiscipline] | None = None,
        turns: Sequence[str] = (),
    ) -> float:
        """Return the number that ``objective`` makes small; `SKIPPED_MS` if its simulation was skipped."""
        value = super().cost(objective, plans, predicted, disciplines, turns)
        # The variance of jobs that all end at SKIPPED_MS is not a number.
        return SKIPPED_MS if isnan(value) else value

    def completed(self, plan: Plan, most_events: float | None = None) -> Plan:
        """Return ``plan`` with all that ``exact`` predicts, or with estimates where that takes too long.

        Args:
            plan: a plan with predictions of this model.
            most_events: bound of the simulation; None for that of the budget.
        """
        most_events = self.budget.last_events if most_events is None else most_events
        predictions = [plan.predicted, *(own.predicted for own in plan.streams.values())]
        skipped = plan.cost == SKIPPED_MS or plan.estimated
        if not skipped and all(each is not None and not isnan(each.makespan_ms) for each in predictions):
            return plan
        exact: CostModel = self.exact
        jobs = sum(len(own.order) for own in plan.streams.values())
        # Several streams are simulated together, and then each alone.
        events = self._events(plan.streams, plan.disciplines, jobs) * min(2, len(plan.streams))
        batched: BatchedCosts | None = None
        if jobs >= LONG_BURST and events > most_events:
            exact = batched = BatchedCosts(self.exact, ceil(events / most_events))
        predicted = exact.predict(plan.streams, plan.disciplines, plan.turns)
        cost = plan.cost
        if skipped:
            cost = exact.cost(plan.objective, plan.streams, predicted, plan.disciplines, plan.turns)
        streams = {
            name: replace(
                own, predicted=predicted if len(plan.streams) == 1 else exact.predict_stream(self.stream(name), own)
            )
            for name, own in plan.streams.items()
        }
        estimated = batched is not None and batched.is_estimate
        return replace(plan, streams=streams, predicted=predicted, cost=cost, estimated=estimated)

    def _events(self, plans: Mapping[str, StreamPlan], disciplines: Mapping[str, QueueDiscipline], jobs: int) -> float:
        """Return the work of a simulation: its operations, weighted by the effort that each of them takes."""
        kinds = {
            (name, place): self.operations(self.stream(name), route)
            for name, plan in plans.items()
            for place, route in enumerate(plan.routes)
        }
        events = float(sum(plans[name].routes[place].jobs * len(kind) for (name, place), kind in kinds.items()))
        if any(discipline is not QueueDiscipline.FIFO for discipline in disciplines.values()):
            return events * SHARED
        if worth_arrays(jobs, len(kinds)) and feeds_forward(list(kinds.values())):
            return events * IN_ARRAYS
        return events
