"""Which constraints a plan breaks, and by how much."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise

from shared.plan.cost import CostModel
from shared.plan.cuts import allowed_encodings
from shared.plan.plan import Constraint, Route, StreamPlan, Violation
from shared.plan.problem import Problem, Stream

SLACK = 1e-9
"""Relative rounding error that no constraint is broken by."""


def violations(costs: CostModel, plans: Mapping[str, StreamPlan]) -> tuple[Violation, ...]:
    """Return every broken constraint of the problem's policy, streams and devices."""
    found: list[Violation] = []
    for name, plan in plans.items():
        stream = costs.problem.stream(name)
        for route in plan.routes:
            broken = tuple(_route_violations(costs, stream, route))
            found += broken
            if not broken:
                found += _deadline_violations(costs, stream, route)
        found += _max_devices_violations(costs.problem, stream, plan)
    found += memory_violations(costs.problem, plans)
    return tuple(dict.fromkeys(found))


def exceeds(value: float, limit: float) -> bool:
    """Say whether ``value`` is more than ``limit``, beyond rounding."""
    return value > limit + SLACK * max(1.0, abs(limit))


def memory_bytes(problem: Problem, plans: Mapping[str, StreamPlan]) -> dict[str, float]:
    """Return what every device must hold: the parameters of its segments plus the largest activation, in bytes.

    A segment that several routes or streams share is held once.
    """
    segments: defaultdict[str, set[tuple[str, int, int]]] = defaultdict(set)
    for name, plan in plans.items():
        model = problem.stream(name).model
        for route in plan.routes:
            for stage in route.stages:
                for tile in stage.tiles:
                    segments[tile.device].add((model, stage.start, stage.stop))
    held: dict[str, float] = {}
    for device, found in segments.items():
        blocks = [block for model, start, stop in found for block in problem.models[model].blocks[start:stop]]
        held[device] = sum(block.parameter_bytes for block in blocks) + max(block.working_bytes for block in blocks)
    return held


def memory_violations(problem: Problem, plans: Mapping[str, StreamPlan]) -> tuple[Violation, ...]:
    """Return the devices whose segments do not fit."""
    found: list[Violation] = []
    for device, need in memory_bytes(problem, plans).items():
        limit = problem.devices[device].memory_bytes
        if limit is not None and exceeds(need, limit):
            message = f"device {device} needs {need:.0f} bytes of memory, {need - limit:.0f} more than it has"
            found.append(Violation(Constraint.MEMORY, device, message, limit, need))
    return tuple(found)


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
    for device in route.devices:
        if not policy.devices.permits(device):
            yield Violation(Constraint.DEVICES, device, f"the policy does not allow device {device}")
        if stream.model not in problem.devices[device].block_ms:
            yield Violation(Constraint.ROUTE, device, f"device {device} cannot run model {stream.model}")
    if policy.raw_input_stays_on_source and route.stages[0].device != stream.source:
        message = f"stream {stream.name}: the first block must run on the source {stream.source}"
        yield Violation(Constraint.RAW_INPUT, stream.name, message)
    hops = [stream.source, *(stage.device for stage in route.stages), *([stream.sink] if stream.sink else [])]
    for sender, receiver in pairwise(hops):
        if not costs.linked(sender, receiver):
            yield Violation(Constraint.ROUTE, sender, f"there is no link from {sender} to {receiver}")
    yield from _codec_violations(problem, stream, route)


def _codec_violations(problem: Problem, stream: Stream, route: Route) -> Iterator[Violation]:
    receivers = [*(stage.device for stage in route.stages[1:]), stream.sink]
    for stage, receiver in zip(route.stages, receivers, strict=True):
        if receiver is None or receiver == stage.device:
            continue
        allowed = allowed_encodings(problem.models[stream.model], stage.stop, problem.policy)
        if stage.codec not in {encoding.codec for encoding in allowed}:
            message = f"stream {stream.name}: encoding {stage.codec} is not allowed at cut {stage.stop}"
            yield Violation(Constraint.CODEC, stream.name, message)


def _max_devices_violations(problem: Problem, stream: Stream, plan: StreamPlan) -> Iterator[Violation]:
    limit = problem.policy.max_devices
    used = {device for route in plan.routes for device in route.devices}
    if limit is not None and len(used) > limit:
        message = f"stream {stream.name} needs {len(used)} devices, the policy allows {limit}"
        yield Violation(Constraint.MAX_DEVICES, stream.name, message, limit, len(used))
