"""Constraints that a plan breaks, and by how much."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise

from planning.cost.cost_model import CostModel
from planning.problem.plan import Constraint, Route, StreamPlan, Violation
from planning.problem.problem import Model, Problem, Stream
from planning.tiles.rows import segment_fault, tile_rows
from planning.tiles.tiling import layout, stage_fault
from shared.row_ranges import RowRange
from shared.segment_memory import segment_memory_bytes

# Relative rounding error by which a value may exceed a limit without breaking it.
SLACK = 1e-9


def violations(costs: CostModel, plans: Mapping[str, StreamPlan]) -> tuple[Violation, ...]:
    """Return every broken constraint of the problem's policy, streams and devices."""
    violated: list[Violation] = []
    for name, plan in plans.items():
        stream = costs.stream(name)
        for route in plan.routes:
            broken = tuple(_route_violations(costs, stream, route))
            violated += broken
            # A route that cannot run, for example without a link, has no latency to compare.
            if not broken:
                violated += _deadline_violations(costs, stream, route)
        violated += _max_devices_violations(costs.problem, stream, plan)
    # Memory is a constraint of all streams together.
    violated += memory_violations(costs.problem, plans)
    # Routes that share a device break the same constraint of it; it counts once.
    return tuple(dict.fromkeys(violated))


def exceeds(value: float, limit: float) -> bool:
    """Return whether ``value`` is more than ``limit``, beyond rounding."""
    return value > limit + SLACK * max(1.0, abs(limit))


def memory_bytes(problem: Problem, plans: Mapping[str, StreamPlan]) -> dict[str, float]:
    """Return the memory that every device needs, in bytes: `segment_memory_bytes` of its segments.

    A segment that several routes or streams share is held once. A tile holds all parameters of its blocks, and of each
    activation the share of the rows that it computes. Two tiles of the same blocks with different rows are two
    segments.
    """
    # Dictionaries as ordered sets: sums in another order would round differently from process to process.
    segments: defaultdict[str, dict[tuple[str, int, int, RowRange | None], None]] = defaultdict(dict)
    models = {stream.name: stream.model for stream in reversed(problem.streams)}
    for name, plan in plans.items():
        model = models[name]
        for route in plan.routes:
            for stage in route.stages:
                for tile in stage.tiles:
                    rows = tile.rows if stage.tiled else None
                    segments[tile.device][model, stage.start, stage.stop, rows] = None
    held: dict[str, float] = {}
    for device, on_device in segments.items():
        parts = [(problem.models[name], start, stop, rows) for name, start, stop, rows in on_device]
        held[device] = segment_memory_bytes(
            (block.parameter_bytes for own, start, stop, _ in parts for block in own.blocks[start:stop]),
            (size_bytes for part in parts for size_bytes in _working_bytes(*part)),
        )
    return held


def _working_bytes(model: Model, start: int, stop: int, rows: RowRange | None) -> Iterator[float]:
    """Yield the activation of every block of a segment, or of a tile of it, in bytes.

    The activations are whole if the segment cannot be tiled, which is a violation of its own.
    """
    blocks = model.blocks[start:stop]
    if rows is None or segment_fault(model, start, stop) is not None:
        yield from (block.working_bytes for block in blocks)
        return
    for block, (top, bottom) in zip(blocks, tile_rows(model, start, stop, rows).computed, strict=True):
        of = block.rows.output_rows if block.rows else 1
        yield block.working_bytes * (bottom - top) / of


def memory_violations(problem: Problem, plans: Mapping[str, StreamPlan]) -> tuple[Violation, ...]:
    """Return a violation for every device whose segments do not fit into its memory."""
    if all(device.memory_bytes is None for device in problem.devices.values()):
        return ()
    too_small: list[Violation] = []
    for device, need in memory_bytes(problem, plans).items():
        limit = problem.devices[device].memory_bytes
        if limit is not None and exceeds(need, limit):
            message = f"device {device} needs {need:.0f} bytes of memory, {need - limit:.0f} more than it has"
            too_small.append(Violation(Constraint.MEMORY, device, message, limit, need))
    return tuple(too_small)


def deadline_violation(stream: Stream, limit: float, value: float) -> Violation:
    """Return the violation of a deadline that is missed by ``value - limit`` ms."""
    message = f"stream {stream.name}: {value:.3f} ms is {value - limit:.3f} ms past the deadline of {limit:g} ms"
    return Violation(Constraint.DEADLINE, stream.name, message, limit, value)


def _deadline_violations(costs: CostModel, stream: Stream, route: Route) -> Iterator[Violation]:
    limit = costs.problem.deadline_ms(stream)
    if limit is not None and exceeds(value := costs.latency_ms(stream, route), limit):
        yield deadline_violation(stream, limit, value)


def _route_violations(costs: CostModel, stream: Stream, route: Route) -> Iterator[Violation]:
    problem, policy = costs.problem, costs.problem.policy
    yield from _device_violations(problem, stream, route)
    if policy.raw_input_stays_on_source and any(tile.device != stream.source for tile in route.stages[0].tiles):
        message = f"stream {stream.name}: the first block must run on the source {stream.source}"
        yield Violation(Constraint.RAW_INPUT, stream.name, message)
    model = problem.models[stream.model]
    faults = [(stage, fault) for stage in route.stages if (fault := stage_fault(model, stage)) is not None]
    for stage, fault in faults:
        message = f"stream {stream.name}: blocks [{stage.start}, {stage.stop}) cannot be split so: {fault}"
        yield Violation(Constraint.TILES, stream.name, message)
    # Without a layout of its rows a route has no transfers to check.
    if faults:
        return
    hops = _hops(model, stream, route)
    for sender, receiver in dict.fromkeys(hop for passed in hops for hop in passed):
        if not costs.linked(sender, receiver):
            yield Violation(Constraint.ROUTE, sender, f"there is no link from {sender} to {receiver}")
    for stage, passed in zip(route.stages, hops[1:], strict=True):
        # An encoding counts only where something is sent.
        allowed = costs.allowed(stream.model, stage.stop) if passed else ()
        if passed and stage.codec not in {encoding.codec for encoding in allowed}:
            message = f"stream {stream.name}: encoding {stage.codec} is not allowed at cut {stage.stop}"
            yield Violation(Constraint.CODEC, stream.name, message)


def _device_violations(problem: Problem, stream: Stream, route: Route) -> Iterator[Violation]:
    for device in route.devices:
        if not problem.policy.devices.permits(device):
            yield Violation(Constraint.DEVICES, device, f"the policy does not allow device {device}")
        if stream.model not in problem.devices[device].block_ms:
            yield Violation(Constraint.ROUTE, device, f"device {device} cannot run model {stream.model}")
        elif route.tiled and not problem.devices[device].runs_tiles(stream.model):
            message = f"device {device} takes no part in routes with tiles"
            yield Violation(Constraint.TILES, device, message)
    for device, stop in {(tile.device, stage.stop): None for stage in route.stages for tile in stage.tiles}:
        most = problem.devices[device].first_blocks
        if most is not None and stop > most:
            message = f"device {device} runs only the first {most} blocks of a model, not block {stop - 1}"
            yield Violation(Constraint.MEMORY, device, message, most, stop)


def _hops(model: Model, stream: Stream, route: Route) -> list[list[tuple[str, str]]]:
    """Return ``(sender, receiver)`` of every transfer, before each stage and after the last."""
    if route.tiled:
        passed = layout(model, stream, route).shares
        return [[(share.sender, share.receiver) for share in shares if share.sent] for shares in passed]
    places = [stream.source, *(stage.device for stage in route.stages), *([stream.sink] if stream.sink else [])]
    hops = [[hop] if hop[0] != hop[1] else [] for hop in pairwise(places)]
    return hops if stream.sink else [*hops, []]


def _max_devices_violations(problem: Problem, stream: Stream, plan: StreamPlan) -> Iterator[Violation]:
    limit = problem.policy.max_devices
    used = {device for route in plan.routes for device in route.devices}
    if limit is not None and len(used) > limit:
        message = f"stream {stream.name} needs {len(used)} devices, the policy allows {limit}"
        yield Violation(Constraint.MAX_DEVICES, stream.name, message, limit, len(used))
