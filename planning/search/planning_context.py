"""Look-ups of one problem that strategies share."""

from dataclasses import dataclass

from planning.cost.cost_model import CostModel
from planning.problem.problem import Problem
from planning.search.cached_costs import CachedCosts
from planning.search.device_network import DeviceNetwork
from planning.search.search_clock import ENDLESS, SearchClock


@dataclass(frozen=True, slots=True, eq=False)
class PlanningContext:
    """The network and the cost model of one problem.

    Both cache their results, so that strategies that solve the same problem compute them once.

    Attributes:
        problem: the problem.
        network: its devices, links and encodings.
        costs: its cost model.
        clock: ends `auto` and the searches that it makes; other strategies are ended by their work only.
    """

    problem: Problem
    network: DeviceNetwork
    costs: CostModel
    clock: SearchClock = ENDLESS


def context_of(problem: Problem, known: PlanningContext | None = None, clock: SearchClock = ENDLESS) -> PlanningContext:
    """Return ``known`` if it belongs to this very problem, otherwise a new context with ``clock``."""
    if known is not None and known.problem is problem:
        return known
    costs = CachedCosts(CostModel(problem))
    return PlanningContext(problem, DeviceNetwork(problem, costs.links), costs, clock)
