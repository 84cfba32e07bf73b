"""The registry of strategies by name."""

from collections.abc import Mapping
from dataclasses import replace

from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.strategies import (
    dads,
    hps,
    hu_mishra,
    jps,
    kafetzis_koutsopoulos,
    masud,
    milp,
    neurosurgeon,
    shortest_path,
)
from planning.strategies.auto import Auto
from planning.strategies.brute_force import BruteForce
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
from planning.strategies.traits import Traits

# Separator between the name of a strategy and that of one of its settings.
VARIANT_SEPARATOR = ":"

_by_name: dict[str, Strategy] = {}
_only_tried: list[Strategy] = []


def register(strategy: Strategy) -> None:
    """Make a strategy, or a variant of one, known by its name; `auto` tries it if it has a trial.

    Raises:
        ValueError: if there is one of that name.
    """
    if strategy.name in _by_name:
        raise ValueError(f"there is a strategy {strategy.name} already")
    _by_name[strategy.name] = strategy


def unregister(name: str) -> None:
    """Remove a strategy.

    Raises:
        KeyError: if there is no strategy of that name.
    """
    del _by_name[name]


def strategies() -> Mapping[str, Strategy]:
    """Return every strategy by its name, without variants, in order of registration."""
    return {name: strategy for name, strategy in _by_name.items() if VARIANT_SEPARATOR not in name}


def known_strategies() -> Mapping[str, Strategy]:
    """Return every name that a policy may give: the strategies, then their variants."""
    return {**strategies(), **_by_name}


def traits_of(name: str) -> Traits | None:
    """Return the traits of the strategy or variant of that name; None if there is none."""
    strategy = _by_name.get(name)
    return None if strategy is None else strategy.traits


def solve(problem: Problem, *, seed: int = 0, time_budget_s: float = 1.0) -> Plan | Infeasible:
    """Solve ``problem`` with the strategy that its policy names.

    Args:
        problem: the problem.
        seed: seed of all randomness.
        time_budget_s: rough duration of a search in seconds; see `Strategy.solve`.

    Raises:
        KeyError: if there is no such strategy.
    """
    return _by_name[problem.policy.strategy].solve(problem, seed=seed, time_budget_s=time_budget_s)


def with_strategy(problem: Problem, name: str) -> Problem:
    """Return ``problem`` with another strategy in its policy."""
    return replace(problem, policy=replace(problem.policy, strategy=name))


def _candidates() -> tuple[Strategy, ...]:
    return (*_by_name.values(), *_only_tried)


# The order is that of lists and tables. A new strategy needs its file and an entry here.
_BUILT_IN: tuple[Strategy, ...] = (
    Auto(_candidates),
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
    *neurosurgeon.VARIANTS,
    *hu_mishra.VARIANTS,
    *dads.VARIANTS,
    *jps.VARIANTS,
    BruteForce(),
    *hps.VARIANTS,
    *kafetzis_koutsopoulos.VARIANTS,
    *masud.VARIANTS,
)

for _strategy in _BUILT_IN:
    register(_strategy)
_only_tried += [shortest_path.BALANCED, kafetzis_koutsopoulos.SIMULATED, milp.ANY_ROUTES]
