"""All strategies by name."""

from collections.abc import Mapping
from dataclasses import replace

from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.strategies.auto import Auto
from planning.strategies.burst import Burst
from planning.strategies.dads import Dads
from planning.strategies.exhaustive import Exhaustive
from planning.strategies.fair_ranks import FairRanks
from planning.strategies.hps import Hps
from planning.strategies.hu_mishra import HuMishra
from planning.strategies.jps import Jps
from planning.strategies.kafetzis_koutsopoulos import KafetzisKoutsopoulos
from planning.strategies.local_only import LocalOnly
from planning.strategies.masud import Masud
from planning.strategies.masud_learned import MasudLearned
from planning.strategies.milp import Milp
from planning.strategies.mixed_routes import MixedRoutes
from planning.strategies.neurosurgeon import Neurosurgeon
from planning.strategies.rank_assignment import RankAssignment
from planning.strategies.remote_only import RemoteOnly
from planning.strategies.shortest_path import ShortestPath
from planning.strategies.strategy import Strategy
from planning.strategies.variants import variants


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
