"""Predicted costs of local, remote, raw-split and encoded-split execution, by source speed and bandwidth.

Costs are milliseconds per request by the planner's cost model. A cell is one combination of source speed, bandwidth and
kind of request.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Block, CodecProfile, Device, Link, Model, Problem, Stream
from planning.strategies.registry import solve, with_strategy
from shared.messages.calibration import BlockCalibration, Calibration, CodecCalibration
from shared.policy import Objective, Policy

# Speeds of the source relative to the server, which is this machine.
SPEEDS: Final = (0.10, 0.25, 0.50)
BANDWIDTHS_MBPS: Final = (1, 2, 5, 10, 20, 50, 100, 200)
LATENCY_MS: Final = 2.0
MODEL, SOURCE, SERVER = "m", "source", "server"


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """Measurements of a model on this machine.

    Attributes:
        name: for tables.
        block_ms: time of each block; block 0 is the preparation of a request that is a tensor.
        overhead_ms: additional time of each segment.
        jpeg_ms: time of block 0 for a JPEG of the input's size.
        jpeg_bytes: median size of that JPEG.
        output_bytes: raw size behind each block.
        calibration: sizes, times and effects of the encodings.
    """

    name: str
    block_ms: tuple[float, ...]
    overhead_ms: float
    jpeg_ms: float
    jpeg_bytes: int
    output_bytes: tuple[int, ...]
    calibration: Calibration


@dataclass(frozen=True, slots=True)
class RoutedCost:
    """Cost of one way to run, ms per request, and its route."""

    cost_ms: float
    route: str


@dataclass(frozen=True, slots=True)
class EncodingCell:
    """Costs of every way to run in one cell.

    The ways are `local`, `remote`, `raw` (best route with raw tensors) and `encoded` (best route and encodings).

    Attributes:
        model: name of the model.
        speed: of the source, relative to the server.
        bandwidth_mbps: of the link between both.
        jpeg: whether requests are JPEGs; otherwise tensors.
        latency: latency of one request alone, by way.
        period: time per request at the sustained rate, pipelined, by way.
    """

    model: str
    speed: float
    bandwidth_mbps: float
    jpeg: bool
    latency: dict[str, RoutedCost]
    period: dict[str, RoutedCost]

    def gain(self, way: str, *, pipelined: bool = False) -> float:
        """Return the cost of the better of local and remote over that of `way`."""
        costs = self.period if pipelined else self.latency
        return min(costs["local"].cost_ms, costs["remote"].cost_ms) / costs[way].cost_ms


def encoding_cells(measured: MeasuredModel, *, min_top1_agreement: float) -> Iterator[EncodingCell]:
    """Yield the predicted costs of every cell.

    Args:
        measured: the model.
        min_top1_agreement: smallest allowed agreement of an encoding with the raw model.
    """
    for jpeg in (False, True):
        for speed in SPEEDS:
            for bandwidth in BANDWIDTHS_MBPS:
                raw = make_problem(measured, speed, bandwidth, jpeg, None)
                encoded = make_problem(measured, speed, bandwidth, jpeg, min_top1_agreement)
                yield EncodingCell(
                    measured.name,
                    speed,
                    bandwidth,
                    jpeg,
                    dict(_costs(raw, encoded, Objective.LATENCY)),
                    dict(_costs(raw, encoded, Objective.THROUGHPUT)),
                )


def make_problem(
    measured: MeasuredModel,
    speed: float,
    bandwidth_mbps: float,
    jpeg: bool,
    min_top1_agreement: float | None,
    latency_ms: float = LATENCY_MS,
) -> Problem:
    """Return the planning problem of one cell; without a bound on agreement only raw tensors are allowed."""
    offers = {block.block: block for block in measured.calibration.blocks}
    blocks = tuple(
        Block(
            f"b{index}",
            size,
            codecs={} if min_top1_agreement is None else _codecs(offers.get(index), min_top1_agreement),
        )
        for index, size in enumerate(measured.output_bytes)
    )
    block_ms = (measured.jpeg_ms if jpeg else measured.block_ms[0], *measured.block_ms[1:])

    def device(at: float) -> Device:
        return Device({MODEL: tuple(ms / at for ms in block_ms)}, 1.0, measured.overhead_ms / at, codec_speed=at)

    return Problem(
        {MODEL: Model(measured.jpeg_bytes if jpeg else measured.output_bytes[0], blocks)},
        {SOURCE: device(speed), SERVER: device(1.0)},
        (Link(SOURCE, SERVER, bandwidth_mbps, latency_ms),),
        (Stream("s", MODEL, SOURCE),),
    )


def _codecs(offer: BlockCalibration | None, min_top1_agreement: float) -> dict[str, CodecProfile]:
    """Return the encodings that satisfy the bound and that no other encoding dominates in size and both times."""
    if offer is None:
        return {}
    allowed = [
        codec for codec in offer.codecs if codec.codec != "raw" and (codec.top1_agreement or 0) >= min_top1_agreement
    ]
    best = [codec for codec in allowed if not any(_dominates(other, codec) for other in allowed)]
    return {codec.codec: CodecProfile(codec.size_bytes, codec.encode_ms, codec.decode_ms) for codec in best}


def _dominates(one: CodecCalibration, other: CodecCalibration) -> bool:
    is_equal = (one.size_bytes, one.encode_ms + one.decode_ms) == (
        other.size_bytes,
        other.encode_ms + other.decode_ms,
    )
    return (
        not is_equal
        and one.size_bytes <= other.size_bytes
        and one.encode_ms <= other.encode_ms
        and one.decode_ms <= other.decode_ms
    )


def _costs(raw: Problem, encoded: Problem, objective: Objective) -> Iterator[tuple[str, RoutedCost]]:
    policy = Policy(objective=objective)
    for way, problem, strategy in (
        ("local", raw, "local_only"),
        ("remote", raw, "remote_only"),
        ("raw", raw, "shortest_path"),
        ("encoded", encoded, "shortest_path"),
    ):
        plan = solve(with_strategy(replace(problem, policy=policy), strategy))
        if isinstance(plan, Infeasible):
            raise RuntimeError(f"{way}: {plan}")
        yield way, _cost_of(plan, objective)


def _cost_of(plan: Plan, objective: Objective) -> RoutedCost:
    stages = plan.streams["s"].routes[0].stages
    route = " ".join(
        f"[{stage.start},{stage.stop}){stage.tiles[0].device[0:2]}"
        + (f" {stage.codec} >" if stage.codec != "raw" else "")
        for stage in stages
    )
    if objective is Objective.THROUGHPUT and plan.predicted.throughput_hz is not None:
        return RoutedCost(1000 / plan.predicted.throughput_hz, route)
    return RoutedCost(plan.predicted.latency_ms, route)


def count_wins(cells: Sequence[EncodingCell], way: str, *, margin: float, pipelined: bool = False) -> tuple[int, float]:
    """Return the number of cells in which the gain of `way` exceeds 1 + `margin`, and its largest gain."""
    gains = [cell.gain(way, pipelined=pipelined) for cell in cells]
    return sum(gain > 1 + margin for gain in gains), max(gains, default=1.0)
