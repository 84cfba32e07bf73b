"""Traits of strategies: their objectives, proofs and costs, and the problems on which `auto` tries them."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from planning.problem.problem import Problem
from shared.policy import Objective

ALL_OBJECTIVES = frozenset(Objective)
# Objectives of a route that a single request takes, and of the pipeline that such routes make.
ROUTE_OBJECTIVES = frozenset({Objective.LATENCY, Objective.ENERGY, Objective.THROUGHPUT, Objective.DEADLINE})
# Objectives of the times at which the jobs of bursts end.
BURST_OBJECTIVES = ALL_OBJECTIVES - ROUTE_OBJECTIVES

# Below this time budget, the size limit of the problems that a strategy is tried on stays constant.
LEAST_BUDGET_S = 0.1


class Joint(Enum):
    """The extent to which a strategy weighs streams against each other."""

    NEVER = "never"
    """Every stream is planned for itself."""
    IN_A_PROBLEM = "in a problem"
    """The streams of one problem are weighed, but a running planner gives the strategy each stream alone."""
    ON_A_FLEET = "on a fleet"
    """A running planner puts the streams whose policies agree into one problem."""


class ProblemSize(Enum):
    """Measures of the size of a problem on which the work of strategies depends."""

    STREAMS = "streams"
    JOBS = "jobs"
    BLOCKS = "blocks of all streams"
    JOB_DEVICE_PAIRS = "pairs of job and device"

    def of(self, problem: Problem) -> int:
        """Return the size of ``problem`` by this measure."""
        match self:
            case ProblemSize.STREAMS:
                return len(problem.streams)
            case ProblemSize.JOBS:
                return sum(stream.jobs for stream in problem.streams)
            case ProblemSize.BLOCKS:
                return sum(len(problem.models[stream.model].blocks) for stream in problem.streams)
            case ProblemSize.JOB_DEVICE_PAIRS:
                return sum(stream.jobs for stream in problem.streams) * len(problem.devices)


@dataclass(frozen=True, slots=True)
class BudgetLimit:
    """The largest problem that a time budget pays for.

    Attributes:
        size: measure of the problem; a strategy may bring a function of its own.
        per_second: size that a second of time budget pays for.
        least_s: a smaller time budget counts as this one.
    """

    size: ProblemSize | Callable[[Problem], int]
    per_second: float
    least_s: float = LEAST_BUDGET_S

    def allows(self, problem: Problem, time_budget_s: float) -> bool:
        """Return whether ``time_budget_s`` pays for ``problem``."""
        size = self.size.of(problem) if isinstance(self.size, ProblemSize) else self.size(problem)
        return size <= self.per_second * max(self.least_s, time_budget_s)


# Streams per second of budget from which on only strategies that are cheap per stream are tried.
CROWD_PER_SECOND = 400
# Jobs per second of budget up to which strategies that place every single job in an order are tried.
SEQUENCED_PER_SECOND = 150_000
# Jobs per second of budget up to which a search for one best route is tried. Beyond it, mixes of routes come close to
# the optimum.
MIXED_PER_SECOND = 10_000

_CROWD = BudgetLimit(ProblemSize.STREAMS, CROWD_PER_SECOND)


class CostClass(Enum):
    """The growth of a strategy's work with the problem; `limits` gives the largest problem of each class."""

    PER_STREAM = "per stream"
    """A few array operations or one shortest path per stream: fit for crowds of streams."""
    SEARCH = "search"
    """A search per stream or per server: not for crowds."""
    JOB_SEQUENCE = "job sequence"
    """Every single job is placed in an order: not for crowds, nor for very long bursts."""
    ONE_ROUTE_SEARCH = "one route search"
    """A search for one route per stream in a programme of all streams: not for crowds, nor for long bursts."""

    @property
    def limits(self) -> tuple[BudgetLimit, ...]:
        """The largest problems, per second of time budget, that strategies of this class are tried on."""
        match self:
            case CostClass.PER_STREAM:
                return ()
            case CostClass.SEARCH:
                return (_CROWD,)
            case CostClass.JOB_SEQUENCE:
                return (_CROWD, BudgetLimit(ProblemSize.JOBS, SEQUENCED_PER_SECOND))
            case CostClass.ONE_ROUTE_SEARCH:
                return (_CROWD, BudgetLimit(ProblemSize.JOBS, MIXED_PER_SECOND))


@dataclass(frozen=True, slots=True)
class Trial:
    """The conditions under which ``auto`` tries a strategy.

    Attributes:
        turn: candidates are tried by ascending turn, and of two equally good plans the first one wins. Strategies that
            prove optimality come first, because a proof ends the search.
        objectives: of the problems on which the strategy is tried.
        limits: sizes beyond which the strategy is left out, beside those of its cost class.
        last_resort: whether the strategy is tried only if no other candidate has a plan.
        applies: returns whether it can help on a problem at all; None: on every one.
    """

    turn: int
    objectives: frozenset[Objective] = ALL_OBJECTIVES
    limits: tuple[BudgetLimit, ...] = ()
    last_resort: bool = False
    applies: Callable[[Problem], bool] | None = None


@dataclass(frozen=True, slots=True)
class Traits:
    """Properties of all instances of a strategy's class, by which other modules choose among strategies.

    Attributes:
        objectives: the objectives that the strategy optimises. It may answer problems with other objectives too.
        cost_class: the growth of its work.
        exact: it chooses the best plan of its shape and proves it optimal where its method allows.
        joint: the extent to which it weighs streams against each other.
        proves_infeasibility: its answer that a stream has no route within the constraints is final, unless it names
            the constraint "support".
        picks_among_others: it stands for whichever strategy plans best.
        splits_stages: its plans may have stages that are split into tiles.
        budgeted: its plan depends on the time budget. Otherwise one attempt serves for all budgets.
    """

    objectives: frozenset[Objective]
    cost_class: CostClass
    exact: bool = False
    joint: Joint = Joint.NEVER
    proves_infeasibility: bool = False
    picks_among_others: bool = False
    splits_stages: bool = False
    budgeted: bool = True
