"""The answer of a strategy: a plan with its predicted cost, or the reasons why there is none."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shared.policy import Objective, QueueDiscipline

# The encoding that changes nothing.
RAW = "raw"


@dataclass(frozen=True, slots=True)
class Tile:
    """The part of a stage that one device computes: rows ``[top, bottom)`` of its output, None for all."""

    device: str
    rows: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks ``[start, stop)``, zero-based, computed by one or more tiles, each on a device of its own.

    ``codec`` is the encoding of the stage's output when it is sent. The rows of each tile are encoded on their own.
    """

    start: int
    stop: int
    tiles: tuple[Tile, ...]
    codec: str = RAW

    @property
    def tiled(self) -> bool:
        """True if several devices share the stage."""
        return len(self.tiles) > 1

    @property
    def device(self) -> str:
        """The only device of an untiled stage.

        Raises:
            ValueError: if the stage is tiled.
        """
        if len(self.tiles) != 1:
            raise ValueError(f"stage [{self.start}, {self.stop}) is split over {len(self.tiles)} tiles")
        return self.tiles[0].device


@dataclass(frozen=True, slots=True)
class Route:
    """The stages in order, from a stream's source to its sink, and the number of jobs that take this route."""

    stages: tuple[Stage, ...]
    jobs: int = 1

    @property
    def tiled(self) -> bool:
        """True if any stage is tiled."""
        return any(len(stage.tiles) > 1 for stage in self.stages)

    @property
    def devices(self) -> tuple[str, ...]:
        """Every device that computes, once each, in order of first use."""
        return tuple(dict.fromkeys(tile.device for stage in self.stages for tile in stage.tiles))


def sequential_route(stages: Iterable[tuple[int, int, str, str]], jobs: int = 1) -> Route:
    """Return a route without tiles from ``(start, stop, device, codec)`` per stage."""
    return Route(tuple(Stage(start, stop, (Tile(device),), codec) for start, stop, device, codec in stages), jobs)


@dataclass(frozen=True, slots=True)
class CostPrediction:
    """The predicted cost of a plan.

    Attributes:
        latency_ms: mean over the requests, each alone in the system.
        throughput_hz: steady state; None if nothing takes any time.
        energy_j: mean per request, joules.
        makespan_ms: from the start of the burst to its last result.
        source_share: share of the blocks that sources compute themselves, mean over the requests. Hu & Mishra call it
            the utilisation of the edge. A tiled stage counts if one of its tiles is at the source.
    """

    latency_ms: float
    throughput_hz: float | None
    energy_j: float
    makespan_ms: float
    source_share: float = 0.0


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """Routes of one stream, and the order in which its jobs start.

    ``order`` holds indices into the list of routes in which each is repeated ``jobs`` times.
    """

    routes: tuple[Route, ...]
    order: tuple[int, ...] = (0,)
    predicted: CostPrediction | None = None

    def expanded(self) -> tuple[Route, ...]:
        """Return one route per job, before ordering."""
        return tuple(route for route in self.routes for _ in range(route.jobs))

    def jobs_in_order(self) -> tuple[Route, ...]:
        """Return one route per job, in the order in which the source starts them."""
        expanded = self.expanded()
        return tuple(expanded[index] for index in self.order)


@dataclass(frozen=True, slots=True)
class Plan:
    """A feasible answer.

    Attributes:
        cost: the number that the objective minimises; `planning.cost.objective` has formulas and units.
        lower_bound: proved bound, below which no plan's cost is; None if none is known.
        optimal: whether it is proved that no plan costs less.
        solve_ms: time to plan; the caller measures it, because strategies have no clock.
        disciplines: queue discipline per device.
        turns: stream names in the order in which the jobs of a burst start, if streams share a source. Empty: one job
            of each stream at a time.
        left_out: strategies that might have found a better plan, but did not fit into the time budget.
        estimated: whether the times at which jobs end are estimates, because the burst is too long to be simulated.
    """

    strategy: str
    objective: Objective
    streams: Mapping[str, StreamPlan]
    predicted: CostPrediction
    cost: float
    optimal: bool = False
    lower_bound: float | None = None
    solve_ms: float | None = None
    disciplines: Mapping[str, QueueDiscipline] = field(default_factory=dict)
    turns: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    estimated: bool = False


class Constraint(StrEnum):
    """A kind of constraint that can make a problem infeasible."""

    ROUTE = "route"
    DEADLINE = "deadline"
    MEMORY = "memory"
    DEVICES = "devices"
    MAX_DEVICES = "max_devices"
    RAW_INPUT = "raw_input_stays_on_source"
    CODEC = "codec"
    TILES = "tiles"
    SUPPORT = "support"


@dataclass(frozen=True, slots=True)
class Violation:
    """A constraint that cannot be met.

    Attributes:
        constraint: its kind.
        subject: the device, stream or strategy that it is about.
        message: a sentence for people.
        limit: the limit, if it is a number.
        value: the best value that was possible, in the unit of ``limit``.
    """

    constraint: Constraint
    subject: str
    message: str
    limit: float | None = None
    value: float | None = None

    @property
    def excess(self) -> float | None:
        """The amount by which the limit is exceeded; None if it is no number."""
        return None if self.limit is None or self.value is None else self.value - self.limit


@dataclass(frozen=True, slots=True)
class Infeasible:
    """No plan: every constraint that cannot be met, and by how much.

    Attributes:
        strategy: name of the algorithm.
        objective: the policy's objective.
        reasons: the constraints.
        solve_ms: time to plan; the caller measures it.
        proved: whether it is proved that no plan keeps the constraints.
    """

    strategy: str
    objective: Objective
    reasons: tuple[Violation, ...]
    solve_ms: float | None = None
    proved: bool = False

    @property
    def reason(self) -> str:
        """All reasons in one line."""
        return "; ".join(violation.message for violation in self.reasons)
