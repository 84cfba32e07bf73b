"""Algorithms from Problem to Plan, one file each, named after the publication."""

from services.planner.strategies.registry import solve, strategies

__all__ = ["solve", "strategies"]
