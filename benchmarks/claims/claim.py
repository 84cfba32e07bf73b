"""A published claim beside the result of this project."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim.

    Attributes:
        source: paper, and its table, figure or section.
        claim: the statement.
        published: its figures.
        seen: the figures of this project.
        setup: how the set-up here differs from the paper's. "easier" and "harder" are said from the view of the claim,
            "other" where that cannot be told.
        holds: whether the figures of this project agree with the statement; they may differ from the published ones.
    """

    source: str
    claim: str
    published: str
    seen: str
    holds: bool
    setup: str = "as in the paper"


Claims = Callable[[], Iterator[Claim]]
