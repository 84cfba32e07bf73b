"""The registry of strategies by name."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.search.planning_context import context_of
from planning.search.search_clock import ENDLESS, SearchClock
from planning.strategies.auto import Auto
from planning.strategies.built_in import BUILT_IN, ONLY_TRIED, BuiltIn
from planning.strategies.strategy import Strategy
from planning.strategies.traits import Traits

# Separator between the name of a strategy and that of one of its settings.
VARIANT_SEPARATOR = ":"


class _LoadedOnUse(Mapping[str, Strategy]):
    """Strategies by name. A built-in one is imported the first time that it is looked up."""

    def __init__(self, entries: dict[str, Strategy | BuiltIn]) -> None:
        self._entries = entries

    def __getitem__(self, name: str) -> Strategy:
        return _loaded(self._entries[name])

    def __contains__(self, name: object) -> bool:
        # Mapping's own test would import the strategy.
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


_entries: dict[str, Strategy | BuiltIn] = {}
_loaded_built_ins: dict[BuiltIn, Strategy] = {}


def register(strategy: Strategy) -> None:
    """Make a strategy, or a variant of one, known by its name; `auto` tries it if it has a trial.

    Raises:
        ValueError: if there is one of that name.
    """
    if strategy.name in _entries:
        raise ValueError(f"there is a strategy {strategy.name} already")
    _entries[strategy.name] = strategy


def unregister(name: str) -> None:
    """Remove a strategy.

    Raises:
        KeyError: if there is no strategy of that name.
    """
    del _entries[name]


def strategies() -> Mapping[str, Strategy]:
    """Return every strategy by its name, without variants, in order of registration."""
    return _LoadedOnUse({name: entry for name, entry in _entries.items() if VARIANT_SEPARATOR not in name})


def known_strategies() -> Mapping[str, Strategy]:
    """Return every name that a policy may give: the strategies, then their variants."""
    variants_last = sorted(_entries, key=lambda name: VARIANT_SEPARATOR in name)
    return _LoadedOnUse({name: _entries[name] for name in variants_last})


def traits_of(name: str) -> Traits | None:
    """Return the traits of the strategy or variant of that name; None if there is none."""
    strategy = known_strategies().get(name)
    return None if strategy is None else strategy.traits


def solve(
    problem: Problem, *, seed: int = 0, time_budget_s: float = 1.0, now_s: Callable[[], float] | None = None
) -> Plan | Infeasible:
    """Solve ``problem`` with the strategy that its policy names.

    Args:
        problem: the problem.
        seed: seed of all randomness.
        time_budget_s: rough duration of a search in seconds; see `Strategy.solve`.
        now_s: a clock in seconds, such as `time.monotonic`, by which ``auto`` ends within the time budget. Without it
            the work alone ends the search, and the answer does not depend on the machine.

    Raises:
        KeyError: if there is no such strategy.
    """
    strategy = known_strategies()[problem.policy.strategy]
    clock = ENDLESS if now_s is None else SearchClock.of_budget(now_s, time_budget_s)
    context = context_of(problem, clock=clock)
    return strategy.solve(problem, seed=seed, time_budget_s=time_budget_s, context=context)


def with_strategy(problem: Problem, name: str) -> Problem:
    """Return ``problem`` with another strategy in its policy."""
    return replace(problem, policy=replace(problem.policy, strategy=name))


def _loaded(entry: Strategy | BuiltIn) -> Strategy:
    if not isinstance(entry, BuiltIn):
        return entry
    if entry not in _loaded_built_ins:
        _loaded_built_ins[entry] = entry.load()
    return _loaded_built_ins[entry]


def _candidates() -> Iterator[Strategy]:
    """Yield the strategies that ``auto`` tries by ascending turn. A proof ends the search before the rest is loaded."""
    turns = [(_turn(entry), entry) for entry in (*_entries.values(), *ONLY_TRIED)]
    tried = [(turn, entry) for turn, entry in turns if turn is not None]
    for _, entry in sorted(tried, key=lambda pair: pair[0]):
        yield _loaded(entry)


def _turn(entry: Strategy | BuiltIn) -> int | None:
    if isinstance(entry, BuiltIn):
        return entry.turn
    return None if entry.trial is None else entry.trial.turn


register(Auto(_candidates))
_entries.update({entry.name: entry for entry in BUILT_IN})
