"""The frame of published strategies with tiles: a choice of volumes and rows for every stream."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from planning.problem.plan import Infeasible, Plan, Route
from planning.problem.problem import Problem, Stream
from planning.search.planning_context import PlanningContext, context_of
from planning.search.result import unsupported
from planning.search.spatial_group import SpatialGroup, spatial_group
from planning.search.stream_by_stream import plan_each_stream
from planning.search.volume_routes import Volume, volume_route
from planning.strategies.traits import CostClass, Traits, Trial
from shared.policy import Objective

# Largest number of blocks with rows of a model. The choice of volumes takes some seconds then.
MAX_ROW_BLOCKS: Final = 150


@dataclass(frozen=True, slots=True)
class Division:
    """A choice of volumes and rows.

    Attributes:
        volumes: in order; blocks between them run on one device each. Without volumes the fastest provider runs all.
        whole_on: the device of blocks outside of volumes; None means as `volume_route` says.
    """

    volumes: Sequence[Volume] = ()
    whole_on: str | None = None


@dataclass(frozen=True, slots=True)
class SpatialBaseline:
    """A published strategy that chooses volumes and rows by a rule.

    Each assumes that a device computes at one speed, and most that a link takes a time in proportion to bytes
    (`planning.search.linear_costs`). The answer's cost is that of the cost model, with measured row times. A group of
    one device, or a model without rows, leaves nothing to divide: the fastest provider runs everything.
    """

    traits: ClassVar[Traits] = Traits(
        objectives=frozenset({Objective.LATENCY}), cost_class=CostClass.SEARCH, budgeted=False
    )

    name: str
    description: str
    citation: str
    divide: Callable[[SpatialGroup], Division]
    trial: Trial | None = None

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the plan of the rule for every stream on its own."""
        return plan_each_group(context_of(problem, context), self.name, self.route, time_budget_s)

    def route(self, group: SpatialGroup) -> Route:
        """Return the route of the rule, whose constraints are not checked."""
        if len(group.providers) == 1 or not group.stretches():
            return volume_route(group, (), group.fastest)
        division = self.divide(group)
        return volume_route(group, division.volumes, division.whole_on or (None if division.volumes else group.fastest))


def plan_each_group(
    context: PlanningContext, strategy: str, route: Callable[[SpatialGroup], Route], time_budget_s: float
) -> Plan | Infeasible:
    """Return a plan of the routes that ``route`` finds for the group of every stream on its own."""
    if (refused := _too_many_rows(context.problem, strategy)) is not None:
        return refused

    def choose(stream: Stream) -> Route | None:
        group = spatial_group(context.network, stream)
        return None if group is None else route(group)

    return plan_each_stream(context, strategy, choose, time_budget_s)


def _too_many_rows(problem: Problem, strategy: str) -> Infeasible | None:
    """Return the answer to a problem with a model of too many blocks with rows; None if there is none."""
    for name in sorted({stream.model for stream in problem.streams}):
        count = sum(block.rows is not None for block in problem.models[name].blocks)
        if count > MAX_ROW_BLOCKS:
            return unsupported(
                problem, strategy, f"model {name} has {count} blocks with rows, more than {MAX_ROW_BLOCKS}"
            )
    return None
