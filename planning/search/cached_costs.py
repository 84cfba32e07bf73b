"""A cost model with a cache of its predictions."""

from collections.abc import Callable, Mapping, Sequence

from planning.cost.cost_model import CostModel
from planning.cost.route_costs import RouteCost
from planning.problem.crossings import Encoding
from planning.problem.plan import CostPrediction, Route, Stage, StreamPlan
from planning.problem.problem import Stream
from planning.queueing.operations import Operation
from shared.policy import QueueDiscipline

# Key of the ends of jobs, with all that they depend on: routes and order of every stream, disciplines, and turns.
_Burst = tuple[tuple[tuple[str, tuple[Route, ...], tuple[int, ...]], ...], tuple[object, ...], tuple[str, ...]]

# Largest number of jobs of a stream whose prediction alone is cached.
SHORT = 10

# Largest number of cached ends of jobs, all simulated plans together.
REMEMBERED = 200_000


class CachedCosts(CostModel):
    """The predictions of ``model``, with every route examined once and every plan simulated once.

    Invariant: an answer is that of ``model`` for the same arguments. Nothing but this class writes the tables.
    """

    def __init__(self, model: CostModel) -> None:
        """Wrap ``model``, with empty tables."""
        super().__init__(model.problem, model.links)
        self._model = model
        self._operations: dict[tuple[str, tuple[Stage, ...]], tuple[Operation, ...]] = {}
        self._route_costs: dict[tuple[str, tuple[Stage, ...]], RouteCost] = {}
        self._allowed: dict[tuple[str, int], tuple[Encoding, ...]] = {}
        self._alone: dict[tuple[str, tuple[Route, ...], tuple[int, ...]], CostPrediction] = {}
        self._ends: dict[_Burst, tuple[float, ...]] = {}
        self._ends_count = 0

    def operations(self, stream: Stream, route: Route) -> tuple[Operation, ...]:
        """Return the operations of a request on ``route``, in order; see `CostModel.operations`."""
        # The number of jobs on a route does not matter, so routes are known by their stages.
        key = stream.name, route.stages
        known = self._operations.get(key)
        if known is None:
            known = self._operations[key] = self._model.operations(stream, route)
        return known

    def route_cost(self, stream: Stream, route: Route) -> RouteCost:
        """Return the costs of one request on ``route``; see `CostModel.route_cost`."""
        key = stream.name, route.stages
        known = self._route_costs.get(key)
        if known is None:
            # Computed here and not by the wrapped model, so that it uses the cached operations.
            known = self._route_costs[key] = super().route_cost(stream, route)
        return known

    def allowed(self, model: str, cut: int) -> tuple[Encoding, ...]:
        """Return the encodings that the policy allows at a cut of ``model``."""
        known = self._allowed.get((model, cut))
        if known is None:
            known = self._allowed[model, cut] = self._model.allowed(model, cut)
        return known

    def predict_stream(self, stream: Stream, plan: StreamPlan) -> CostPrediction:
        """Return the costs of one stream's routes without the other streams; see `CostModel.predict_stream`."""
        key = stream.name, plan.routes, plan.order
        known = self._alone.get(key)
        if known is None:
            known = super().predict_stream(stream, plan)
            if len(plan.order) <= SHORT:
                self._alone[key] = known
        return known

    def delays_ms(
        self,
        plans: Mapping[str, StreamPlan],
        disciplines: Mapping[str, QueueDiscipline] | None = None,
        turns: Sequence[str] = (),
    ) -> tuple[float, ...]:
        """Return when each job ends, in ms; see `CostModel.delays_ms`."""
        ends_ms = self.remembered_ms(plans, disciplines, turns, lambda: self.new_delays_ms(plans, disciplines, turns))
        assert ends_ms is not None, "the simulation of the cost model always ends"
        return ends_ms

    def new_delays_ms(
        self,
        plans: Mapping[str, StreamPlan],
        disciplines: Mapping[str, QueueDiscipline] | None,
        turns: Sequence[str],
    ) -> tuple[float, ...]:
        """Return when each job ends, in ms, by a simulation without the cache."""
        return super().delays_ms(plans, disciplines, turns)

    def remembered_ms(
        self,
        plans: Mapping[str, StreamPlan],
        disciplines: Mapping[str, QueueDiscipline] | None,
        turns: Sequence[str],
        simulate: Callable[[], tuple[float, ...] | None],
    ) -> tuple[float, ...] | None:
        """Return when each job ends, in ms: from the cache, or by ``simulate``, whose answer is cached unless None.

        Args:
            plans: routes per stream.
            disciplines: the devices' queue disciplines.
            turns: the order in which the jobs of several streams start.
            simulate: computes the ends of these very plans, or declines.
        """
        own = tuple((name, plan.routes, plan.order) for name, plan in plans.items())
        key = own, tuple((disciplines or {}).items()), tuple(turns)
        known = self._ends.get(key)
        if known is not None:
            return known
        ends_ms = simulate()
        if ends_ms is None:
            return None
        self._ends_count += len(ends_ms)
        if self._ends_count > REMEMBERED:
            self._ends.clear()
            self._ends_count = len(ends_ms)
        self._ends[key] = ends_ms
        return ends_ms
