"""Checks of the planner's state, and the error of a broken invariant."""

from collections.abc import Sequence
from itertools import pairwise


class InvariantError(AssertionError):
    """The planner's state is inconsistent, which is a fault of the planner."""


def require(condition: object, subject: str, rule: str) -> None:
    """Check one invariant.

    Args:
        condition: true if it holds.
        subject: the part of the state, such as a stream.
        rule: the invariant as a sentence.

    Raises:
        InvariantError: the condition is false.
    """
    if not condition:
        raise InvariantError(f"{subject}: {rule}")


def is_sorted(values: Sequence[float]) -> bool:
    """Return whether no value is smaller than the one before."""
    return all(first <= second for first, second in pairwise(values))
