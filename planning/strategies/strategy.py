"""What a planning algorithm is."""

from typing import Protocol

from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem


class Strategy(Protocol):
    """A planning algorithm: pure, and the same for the same seed.

    Attributes:
        name: how policies and the command line call it.
        description: what it does, in one line.
        citation: where it was published.
    """

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def citation(self) -> str: ...

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return a plan, or every constraint that cannot be met.

        Args:
            problem: all that may be known.
            seed: of all randomness.
            time_budget_s: roughly how long a search may last; turned into a number of steps, so that the answer
                does not depend on the machine.
        """
        ...
