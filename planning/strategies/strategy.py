"""The interface of planning algorithms."""

from collections.abc import Callable
from typing import ClassVar, Protocol, runtime_checkable

from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.search.planning_context import PlanningContext
from planning.strategies.traits import Traits, Trial

# Called with steps done, steps in all, and the best cost so far.
SearchProgress = Callable[[int, int, float], None]


class Strategy(Protocol):
    """A planning algorithm: without side effects, and with the same answer for the same seed.

    A class may have several instances with other settings and names. A name of two parts, ``strategy:setting``, is a
    variant: policies may name it, but comparisons of all strategies leave it out.

    Attributes:
        traits: properties of all instances of the class.
    """

    traits: ClassVar[Traits]

    @property
    def name(self) -> str:
        """Return the name in policies, on the command line and in answers."""
        ...

    @property
    def description(self) -> str:
        """Return one line about the algorithm."""
        ...

    @property
    def citation(self) -> str:
        """Return the publication."""
        ...

    @property
    def trial(self) -> Trial | None:
        """Return when ``auto`` tries this instance; None if never."""
        ...

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return a plan, or every constraint that cannot be met.

        Args:
            problem: the problem.
            seed: seed of all randomness.
            time_budget_s: rough duration of a search in seconds. It is converted to a number of steps, so that the
                answer does not depend on the machine.
            context: look-ups of ``problem`` that several strategies share; without it they are made here.
        """
        ...


@runtime_checkable
class LongSearch(Protocol):
    """A strategy whose search may take minutes."""

    def reporting(self, progress: SearchProgress) -> Strategy:
        """Return the same strategy that calls ``progress`` after every step."""
        ...
