"""DistrEdge: volumes by the layers' shapes, and their splits by reinforcement learning."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import ClassVar, Final

import numpy as np

from planning.cost.cost_model import CostModel
from planning.learned.ddpg_agent import Networks
from planning.learned.dense_network import Floats
from planning.learned.layer_partition import ALPHA, RANDOM_SPLITS, volume_scores
from planning.learned.split_environment import SplitEnvironment
from planning.learned.split_search import (
    EPISODES,
    EXPLORING,
    SplitSchedule,
    SplitSearchResult,
    action_of_rows,
    published_variance,
    search_splits,
)
from planning.problem.plan import Infeasible, Plan, Route
from planning.problem.problem import Problem
from planning.search.planning_context import PlanningContext, context_of
from planning.search.simple_routes import keeps_constraints
from planning.search.spatial_group import RowUnit, SpatialGroup
from planning.search.volume_routes import Volume, proportional_rows, volume_route
from planning.strategies.spatial.aofl import AOFL, linear_ratio
from planning.strategies.spatial.coedge import COEDGE
from planning.strategies.spatial.deeperthings import DEEPERTHINGS
from planning.strategies.spatial.deepthings import DEEPTHINGS
from planning.strategies.spatial.mednn import MEDNN
from planning.strategies.spatial.modnn import MODNN
from planning.strategies.spatial.offload import OFFLOAD
from planning.strategies.spatial.spatial_baseline import plan_each_group
from planning.strategies.strategy import SearchProgress
from planning.strategies.traits import CostClass, Traits, Trial
from shared.policy import Objective

# The seven methods that DistrEdge is compared with.
BASELINES: Final = (COEDGE, MODNN, MEDNN, DEEPTHINGS, DEEPERTHINGS, AOFL, OFFLOAD)

# Volumes split per second of time budget, each with an update of the networks, which takes 5 ms on an idle core.
SPLITS_PER_SECOND: Final = 200


@dataclass(frozen=True, slots=True)
class Distredge:
    """Volumes by LC-PSS (`planning.learned.layer_partition`), rows by OSDS (`planning.learned.split_search`).

    LC-PSS weighs operations against bytes over random splits, and sees neither devices nor links. OSDS trains a DDPG
    agent on the predicted times and returns the best splits that it ever tried. The published 4000 episodes need a time
    budget of 4000 x volumes / SPLITS_PER_SECOND seconds. With less there are fewer, half of them with random actions.

    A seeded instance also tries simple ratios in its volumes, and every baseline's plan, so that its answer never costs
    more than one of them, or than the search alone.
    """

    traits: ClassVar[Traits] = Traits(objectives=frozenset({Objective.LATENCY}), cost_class=CostClass.SEARCH)

    name: str = "distredge"
    description: str = "volumes by layer shapes, rows by a DDPG agent that is trained on the predicted times"
    citation: str = (
        "Hou et al., DistrEdge: speeding up convolutional neural network inference on distributed edge devices, "
        "IPDPS 2022"
    )
    trial: Trial | None = None
    alpha: float = ALPHA
    random_splits: int = RANDOM_SPLITS
    seeded: bool = False
    progress: SearchProgress | None = field(default=None, compare=False)

    def reporting(self, progress: SearchProgress) -> "Distredge":
        """Return the strategy that calls ``progress`` after every episode, with the best latency in ms."""
        return replace(self, progress=progress)

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the plan of the best splits for every stream on its own."""
        context = context_of(problem, context)

        def route(group: SpatialGroup) -> Route:
            return self._route(context.costs, group, seed, time_budget_s)

        return plan_each_group(context, self.name, route, time_budget_s)

    def partition(self, group: SpatialGroup, seed: int) -> list[tuple[RowUnit, ...]]:
        """Return the units of each volume that LC-PSS chooses; the group has a stretch with rows."""
        rng = np.random.default_rng(seed)
        volumes: list[tuple[RowUnit, ...]] = []
        for stretch in group.stretches():
            starts = volume_scores(group, stretch, rng, self.random_splits).partition(self.alpha)
            volumes += [stretch[start:stop] for start, stop in pairwise((*starts, len(stretch)))]
        return volumes

    def search(
        self, environment: SplitEnvironment, episodes: int, seed: int, start: Networks | None = None
    ) -> SplitSearchResult:
        """Return the best splits of so many episodes.

        Args:
            environment: the volumes.
            episodes: their number.
            seed: of all randomness.
            start: networks that are tuned; their own actions begin, and nothing is random.
        """
        progress = self.progress
        return search_splits(
            environment,
            SplitSchedule(
                episodes=episodes,
                exploring=1 if start else max(1, min(EXPLORING, episodes // 2)),
                variance=published_variance(len(environment.group.providers)),
            ),
            seed,
            start=start,
            seeds=_simple_splits(environment) if self.seeded else (),
            progress=None if progress is None else lambda episode, best_ms: progress(episode, episodes, best_ms),
        )

    def _route(self, costs: CostModel, group: SpatialGroup, seed: int, time_budget_s: float) -> Route:
        if len(group.providers) == 1 or not group.stretches():
            return volume_route(group, (), group.fastest)
        environment = SplitEnvironment(group, costs, self.partition(group, seed))
        episodes = int(time_budget_s * SPLITS_PER_SECOND / len(environment.spans))
        found = self.search(environment, max(1, min(EPISODES, episodes)), seed)
        routes = [volume_route(group, found.volumes)]
        if self.seeded:
            routes += [baseline.route(group) for baseline in BASELINES]
            problem, stream = group.network.problem, group.stream
            routes = [each for each in routes if keeps_constraints(problem, stream, each, costs)] or routes
        return min(routes, key=lambda route: costs.latency_ms(group.stream, route)) if len(routes) > 1 else routes[0]


def _simple_splits(environment: SplitEnvironment) -> Iterator[list[Floats]]:
    """Yield the actions for all volumes of simple ratios.

    They are: equal parts, by linear models, and by the capability of the fastest one, two, ... of all providers.
    """
    group, count = environment.group, len(environment.group.providers)
    capability = group.capability_shares()
    by_speed = sorted(range(count), key=capability.__getitem__, reverse=True)
    ratios = [[1 / count] * count, linear_ratio(group)]
    for fastest in range(1, count + 1):
        inside = by_speed[:fastest]
        total = sum(capability[place] for place in inside)
        ratios.append([capability[place] / total if place in inside else 0.0 for place in range(count)])
    for shares in ratios:
        yield [
            action_of_rows(Volume(first.start, last.stop, tuple(proportional_rows(height, shares))), height)
            for first, last in environment.spans
            for height in (last.rows or 0,)
        ]


VARIANTS = (
    Distredge(
        name="distredge:seeded",
        description="also tries simple ratios, and the plan of every method that it is compared with",
        seeded=True,
    ),
)
