"""A published claim, and what was seen of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim.

    Attributes:
        source: paper, and its table, figure or section.
        claim: what it says.
        published: its figures.
        seen: ours.
        holds: whether ours agree with what it says, not whether the figures are the same.
    """

    source: str
    claim: str
    published: str
    seen: str
    holds: bool


Claims = Callable[[], Iterator[Claim]]
