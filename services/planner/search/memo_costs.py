"""The common cost prediction, with a memory for what it has been asked before."""

from collections.abc import Mapping, Sequence

from shared.plan.cost import CostModel
from shared.plan.pipeline import Operation
from shared.plan.plan import Route, Stage, StreamPlan
from shared.plan.policy import QueueDiscipline
from shared.plan.problem import Problem, Stream

Asked = tuple[tuple[tuple[str, tuple[Route, ...], tuple[int, ...]], ...], tuple[object, ...], tuple[str, ...]]


class MemoCosts(CostModel):
    """Predicts exactly what `CostModel` does; looks at every route once, and simulates the same plan once in a row."""

    def __init__(self, problem: Problem) -> None:
        """Start with an empty memory."""
        super().__init__(problem)
        self._operations: dict[tuple[str, tuple[Stage, ...]], tuple[Operation, ...]] = {}
        self._asked: Asked | None = None
        self._answer: tuple[float, ...] = ()

    def operations(self, stream: Stream, route: Route) -> tuple[Operation, ...]:
        """Return what a request does on ``route``, in order; see `CostModel.operations`."""
        key = stream.name, route.stages
        found = self._operations.get(key)
        if found is None:
            found = self._operations[key] = super().operations(stream, route)
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
        if asked != self._asked:
            self._answer = super().delays_ms(plans, disciplines, turns)
            self._asked = asked
        return self._answer
