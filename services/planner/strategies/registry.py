"""All strategies by name."""

from collections.abc import Mapping
from dataclasses import replace

from services.planner.strategies.auto import Auto
from services.planner.strategies.burst import Burst
from services.planner.strategies.dads import Dads
from services.planner.strategies.exhaustive import Exhaustive
from services.planner.strategies.fair_ranks import FairRanks
from services.planner.strategies.hps import Hps
from services.planner.strategies.hu_mishra import HuMishra
from services.planner.strategies.jps import Jps
from services.planner.strategies.kafetzis_koutsopoulos import KafetzisKoutsopoulos
from services.planner.strategies.local_only import LocalOnly
from services.planner.strategies.masud import Masud
from services.planner.strategies.masud_learned import MasudLearned
from services.planner.strategies.milp import Milp
from services.planner.strategies.mixed_routes import MixedRoutes
from services.planner.strategies.neurosurgeon import Neurosurgeon
from services.planner.strategies.rank_assignment import RankAssignment
from services.planner.strategies.remote_only import RemoteOnly
from services.planner.strategies.shortest_path import ShortestPath
from services.planner.strategies.strategy import Strategy
from services.planner.strategies.variants import variants
from shared.plan.plan import Infeasible, Plan
from shared.plan.problem import Problem


def strategies() -> Mapping[str, Strategy]:
    """Return every strategy by its name, ``auto`` first."""
    found: tuple[Strategy, ...] = (
        Auto(),
        ShortestPath(),
        MixedRoutes(),
        Milp(),
        Neurosurgeon(),
        HuMishra(),
        Dads(),
        Jps(),
        KafetzisKoutsopoulos(),
        RankAssignment(),
        FairRanks(),
        Burst(),
        Hps(),
        Masud(),
        MasudLearned(),
        LocalOnly(),
        RemoteOnly(),
        Exhaustive(),
    )
    return {strategy.name: strategy for strategy in found}


def known_strategies() -> Mapping[str, Strategy]:
    """Return every name that a policy may give: the strategies and their variants."""
    return {**strategies(), **variants()}


def solve(problem: Problem, *, seed: int = 0, time_budget_s: float = 1.0) -> Plan | Infeasible:
    """Solve ``problem`` with the strategy that its policy names.

    Raises:
        KeyError: if there is no such strategy.
    """
    return known_strategies()[problem.policy.strategy].solve(problem, seed=seed, time_budget_s=time_budget_s)


def with_strategy(problem: Problem, name: str) -> Problem:
    """Return ``problem`` with another strategy in its policy."""
    return replace(problem, policy=replace(problem.policy, strategy=name))
