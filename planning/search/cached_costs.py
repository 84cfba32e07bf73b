"""The common cost prediction, with a memory for what it has been asked before."""

from collections.abc import Mapping, Sequence
from math import inf

from planning.cost.cost_model import CostModel
from planning.cost.route_costs import RouteCost
from planning.problem.crossings import Encoding
from planning.problem.plan import CostPrediction, Route, Stage, StreamPlan
from planning.problem.problem import Problem, Stream
from planning.queueing.operations import Operation
from shared.policy import QueueDiscipline

Asked = tuple[tuple[tuple[str, tuple[Route, ...], tuple[int, ...]], ...], tuple[object, ...], tuple[str, ...]]


SHORT = 10
"""Up to how many jobs the prediction for a stream alone is remembered."""

REMEMBERED = 200_000
"""How many ends of jobs are remembered."""


class CachedCosts(CostModel):
    """Predicts exactly what `CostModel` does; looks at every route once, and simulates the same plan once."""

    def __init__(self, problem: Problem) -> None:
        """Start with an empty memory."""
        super().__init__(problem)
        self._operations: dict[tuple[str, tuple[Stage, ...]], tuple[Operation, ...]] = {}
        self._route_costs: dict[tuple[str, tuple[Stage, ...]], RouteCost] = {}
        self._allowed: dict[tuple[str, int], tuple[Encoding, ...]] = {}
        self._alone: dict[tuple[str, tuple[Route, ...], tuple[int, ...]], CostPrediction] = {}
        self._ends: dict[Asked, tuple[float, ...]] = {}
        self._held = 0

    def operations(self, stream: Stream, route: Route) -> tuple[Operation, ...]:
        """Return what a request does on ``route``, in order; see `CostModel.operations`."""
        key = stream.name, route.stages
        found = self._operations.get(key)
        if found is None:
            found = self._operations[key] = super().operations(stream, route)
        return found

    def route_cost(self, stream: Stream, route: Route) -> RouteCost:
        """Return what one request costs on ``route``; see `CostModel.route_cost`."""
        key = stream.name, route.stages
        found = self._route_costs.get(key)
        if found is None:
            found = self._route_costs[key] = super().route_cost(stream, route)
        return found

    def allowed(self, model: str, cut: int) -> tuple[Encoding, ...]:
        """Return the encodings that the policy allows at a cut of ``model``."""
        found = self._allowed.get((model, cut))
        if found is None:
            found = self._allowed[model, cut] = super().allowed(model, cut)
        return found

    def predict_stream(self, stream: Stream, plan: StreamPlan) -> CostPrediction:
        """Return what the routes of one stream cost when no other stream runs; see `CostModel.predict_stream`."""
        key = stream.name, plan.routes, plan.order
        found = self._alone.get(key)
        if found is None:
            found = super().predict_stream(stream, plan)
            if len(plan.order) <= SHORT:
                self._alone[key] = found
        return found

    def delays_ms(
        self,
        plans: Mapping[str, StreamPlan],
        disciplines: Mapping[str, QueueDiscipline] | None = None,
        turns: Sequence[str] = (),
    ) -> tuple[float, ...]:
        """Return when each job ends; see `CostModel.delays_ms`."""
        own = tuple((name, plan.routes, plan.order) for name, plan in plans.items())
        asked = own, tuple((disciplines or {}).items()), tuple(turns)
        found = self._ends.get(asked)
        if found is None:
            found = self.simulated_ms(plans, disciplines, turns)
            if inf in found[:1]:
                return found
            self._held += len(found)
            if self._held > REMEMBERED:
                self._ends.clear()
                self._held = len(found)
            self._ends[asked] = found
        return found

    def simulated_ms(
        self,
        plans: Mapping[str, StreamPlan],
        disciplines: Mapping[str, QueueDiscipline] | None,
        turns: Sequence[str],
    ) -> tuple[float, ...]:
        """Return when each job ends of what has not been asked before; inf is not remembered."""
        return super().delays_ms(plans, disciplines, turns)
