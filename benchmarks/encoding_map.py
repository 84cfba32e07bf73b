"""Who wins where: local, remote, split with raw tensors or encoded ones; predicted with the planner's cost model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Block, CodecProfile, Device, Link, Model, Problem, Stream
from planning.strategies.registry import solve, with_strategy
from shared.messages.calibration import BlockCalibration, Calibration
from shared.policy import Objective, Policy

SPEEDS = (0.10, 0.25, 0.50)
"""Of the source; the server has speed 1: this machine."""
BANDWIDTHS_MBPS = (1, 2, 5, 10, 20, 50, 100, 200)
LATENCY_MS = 2.0
MODEL, SOURCE, SERVER = "m", "source", "server"


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """What the map needs of a model.

    Attributes:
        name: for people.
        block_ms: of this machine; block 0 is `prepare` for a request that is a tensor.
        overhead_ms: per segment.
        jpeg_ms: block 0 for a JPEG of the input's size.
        jpeg_bytes: median size of that JPEG.
        output_bytes: raw bytes behind every block.
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
class Answer:
    """One way to run, with its cost in ms per request and where it cuts."""

    cost_ms: float
    route: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One situation and the cost of every way to run in it.

    `latency` and `period` (1000 / sustained rate, pipelined) by `local`, `remote`, `raw` (best of all routes with raw
    tensors) and `encoded` (best of all routes and allowed encodings), ms.
    """

    model: str
    speed: float
    bandwidth_mbps: float
    jpeg: bool
    latency: dict[str, Answer]
    period: dict[str, Answer]

    def gain(self, way: str, *, pipelined: bool = False) -> float:
        """How many times faster `way` is than the better of local and remote."""
        costs = self.period if pipelined else self.latency
        return min(costs["local"].cost_ms, costs["remote"].cost_ms) / costs[way].cost_ms


def cells(measured: MeasuredModel, *, min_top1_agreement: float) -> Iterator[Cell]:
    """Predict every cell of the map.

    Args:
        measured: the model.
        min_top1_agreement: encodings that agree less with the plain model are not allowed.
    """
    for jpeg in (False, True):
        for speed in SPEEDS:
            for bandwidth in BANDWIDTHS_MBPS:
                raw = make_problem(measured, speed, bandwidth, jpeg, None)
                encoded = make_problem(measured, speed, bandwidth, jpeg, min_top1_agreement)
                yield Cell(
                    measured.name,
                    speed,
                    bandwidth,
                    jpeg,
                    dict(_answers(raw, encoded, Objective.LATENCY)),
                    dict(_answers(raw, encoded, Objective.THROUGHPUT)),
                )


def make_problem(
    measured: MeasuredModel,
    speed: float,
    bandwidth_mbps: float,
    jpeg: bool,
    min_top1_agreement: float | None,
    latency_ms: float = LATENCY_MS,
) -> Problem:
    """Describe one cell; without a bound on agreement only raw tensors are allowed."""
    offers = {each.block: each for each in measured.calibration.blocks}
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
    """Return the encodings that keep to the bound, without those that another beats in every respect."""
    if offer is None:
        return {}
    kept = [each for each in offer.codecs if each.codec != "raw" and (each.top1_agreement or 0) >= min_top1_agreement]
    best = [
        each
        for each in kept
        if not any(
            (other.size_bytes, other.encode_ms + other.decode_ms) != (each.size_bytes, each.encode_ms + each.decode_ms)
            and other.size_bytes <= each.size_bytes
            and other.encode_ms <= each.encode_ms
            and other.decode_ms <= each.decode_ms
            for other in kept
        )
    ]
    return {each.codec: CodecProfile(each.size_bytes, each.encode_ms, each.decode_ms) for each in best}


def _answers(raw: Problem, encoded: Problem, objective: Objective) -> Iterator[tuple[str, Answer]]:
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
        yield way, _answer(plan, objective)


def _answer(plan: Plan, objective: Objective) -> Answer:
    stages = plan.streams["s"].routes[0].stages
    route = " ".join(
        f"[{stage.start},{stage.stop}){stage.tiles[0].device[0:2]}"
        + (f" {stage.codec} >" if stage.codec != "raw" else "")
        for stage in stages
    )
    if objective is Objective.THROUGHPUT:
        return Answer(1000 / plan.predicted.throughput_hz, route)
    return Answer(plan.predicted.latency_ms, route)


def count_wins(found: Sequence[Cell], way: str, *, margin: float, pipelined: bool = False) -> tuple[int, float]:
    """Return in how many cells `way` beats local and remote by more than `margin`, and its best gain."""
    gains = [cell.gain(way, pipelined=pipelined) for cell in found]
    return sum(gain > 1 + margin for gain in gains), max(gains, default=1.0)
