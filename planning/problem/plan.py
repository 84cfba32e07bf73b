"""The output of a strategy: routes for every stream and what they are predicted to cost, or why there are none."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shared.policy import Objective, QueueDiscipline

RAW = "raw"
"""The name of the encoding that changes nothing."""


@dataclass(frozen=True, slots=True)
class Tile:
    """The share of a stage that one device computes: rows ``[top, bottom)`` of its output, None for all."""

    device: str
    rows: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks ``[start, stop)``, zero-based, computed by one or more tiles, each on a device of its own.

    ``codec`` is the encoding of this stage's output when it is sent on, of each tile's rows for themselves.
    """

    start: int
    stop: int
    tiles: tuple[Tile, ...]
    codec: str = RAW

    @property
    def tiled(self) -> bool:
        """Whether several devices share it."""
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
    """The stages in order, from a stream's source to its sink, and how many of its jobs take this route."""

    stages: tuple[Stage, ...]
    jobs: int = 1

    @property
    def tiled(self) -> bool:
        """Whether any of its stages is."""
        return any(len(stage.tiles) > 1 for stage in self.stages)

    @property
    def devices(self) -> tuple[str, ...]:
        """Every device that computes, once, in order of first use."""
        return tuple(dict.fromkeys(tile.device for stage in self.stages for tile in stage.tiles))


def sequential_route(stages: Iterable[tuple[int, int, str, str]], jobs: int = 1) -> Route:
    """Return a route without tiles from ``(start, stop, device, codec)`` per stage."""
    return Route(tuple(Stage(start, stop, (Tile(device),), codec) for start, stop, device, codec in stages), jobs)


@dataclass(frozen=True, slots=True)
class CostPrediction:
    """What a plan costs.

    Attributes:
        latency_ms: mean over the requests, each alone in the system.
        throughput_hz: steady state; None if nothing takes any time.
        energy_j: mean per request, joules.
        makespan_ms: from the start of the burst to its last result.
        source_share: share of the blocks that sources compute themselves, mean over the requests (what Hu & Mishra call
            the utilisation of the edge); a stage in tiles counts where one of them is at the source.
    """

    latency_ms: float
    throughput_hz: float | None
    energy_j: float
    makespan_ms: float
    source_share: float = 0.0


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """A stream's weighted routes; ``order`` indexes the list of routes, each repeated ``jobs`` times."""

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
        cost: what the objective makes small; for throughput the busy time of the bottleneck per request, in ms.
        lower_bound: no plan costs less; None if no bound is known.
        optimal: true only where it is proved.
        solve_ms: time to plan, filled in by the caller: strategies know no clock.
        disciplines: queue discipline per device.
        turns: stream names in the order in which a burst's jobs start, where streams share a source; empty: the
            streams take turns one by one.
        left_out: strategies that might have found a better plan, and for which the time budget did not suffice.
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


class Constraint(StrEnum):
    """What can make a problem infeasible."""

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
    """A constraint that cannot be met: of what, the limit, and the best value that was possible."""

    constraint: Constraint
    subject: str
    message: str
    limit: float | None = None
    value: float | None = None

    @property
    def excess(self) -> float | None:
        """By how much the limit is exceeded, where that is a number."""
        return None if self.limit is None or self.value is None else self.value - self.limit


@dataclass(frozen=True, slots=True)
class Infeasible:
    """No plan: every constraint that stands in the way, and by how much."""

    strategy: str
    objective: Objective
    reasons: tuple[Violation, ...]
    solve_ms: float | None = None

    @property
    def reason(self) -> str:
        """All reasons in one line."""
        return "; ".join(violation.message for violation in self.reasons)
