"""Algorithms from Problem to Plan, one file each, named after the publication."""

from planning.strategies.registry import known_strategies, solve, strategies

__all__ = ["known_strategies", "solve", "strategies"]
