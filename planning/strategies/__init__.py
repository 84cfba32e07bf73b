"""Planning algorithms, one file each, named after the publication.

`solve` runs the strategy that a problem's policy names. `known_strategies` returns all of them by name, and `register`
adds one. A strategy is any object with the members of `Strategy`. ``auto``, the planner and the command line read its
purpose from its `Traits` and its `Trial`.
"""

from planning.strategies.registry import known_strategies, register, solve, strategies, traits_of
from planning.strategies.strategy import Strategy
from planning.strategies.traits import Traits, Trial

__all__ = ["Strategy", "Traits", "Trial", "known_strategies", "register", "solve", "strategies", "traits_of"]
