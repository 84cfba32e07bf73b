"""Brute force over all plans of a small problem; it shares the problem, constraints and cost model with strategies."""

from collections.abc import Iterator, Sequence
from itertools import combinations, combinations_with_replacement, pairwise, permutations, product
from math import comb, inf, prod

from planning.cost.constraints import memory_violations, violations
from planning.cost.cost_model import CostModel
from planning.problem.crossings import allowed_encodings
from planning.problem.plan import RAW, Route, Stage, StreamPlan, Tile
from planning.problem.problem import Problem, Stream
from planning.tiles.rows import segment_fault
from shared.policy import Objective

_SIMULATED = (Objective.MAKESPAN, Objective.TOTAL_DELAY, Objective.DELAY_VARIANCE)

# Routes of one job each, in starting order.
Jobs = tuple[Route, ...]


class TooLargeError(ValueError):
    """The problem has more plans than the caller is willing to compare."""


def least_cost(problem: Problem, *, most_plans: int) -> float | None:
    """Return the least cost of all plans within the constraints; None if there are none.

    Plans give every job a route of its own, stages of one device or of tiles, every encoding, and every starting order.
    Queues are those of the policy.

    Raises:
        TooLargeError: there are more than ``most_plans`` plans.
    """
    costs, objective = CostModel(problem), problem.policy.objective
    own = [_usable_routes(costs, stream, most_plans) for stream in problem.streams]
    choices = [_choices(problem, stream, routes) for stream, routes in zip(problem.streams, own, strict=True)]
    sizes = [count for count, _ in choices]
    names = [stream.name for stream in problem.streams]
    turns = list(_interleavings([stream.jobs for stream in problem.streams])) if objective in _SIMULATED else [()]
    if prod(sizes) * len(turns) > most_plans:
        raise TooLargeError(f"{prod(sizes) * len(turns)} plans")
    if objective in (Objective.LATENCY, Objective.ENERGY, Objective.DEADLINE):
        return _least_sum(costs, choices)
    least = inf
    # Only these two are constraints of all routes together.
    limited = problem.policy.max_devices is not None
    limited |= any(device.memory_bytes is not None for device in problem.devices.values())
    for chosen in product(*(each for _, each in choices)):
        plans = {name: _plan(jobs) for name, jobs in zip(names, chosen, strict=True)}
        if objective is Objective.THROUGHPUT:
            values = [_bottleneck_ms(costs, plans)]
        elif limited and violations(costs, plans):
            continue
        else:
            routes = [each for plan in plans.values() for each in plan.routes]
            queues = {device: problem.policy.queue for each in routes for device in each.devices}
            orders = (tuple(names[place] for place in turn) for turn in turns)
            values = [_aggregate(objective, costs.delays_ms(plans, queues, order)) for order in orders]
        if min(values) < least and not (limited and violations(costs, plans)):
            least = min(values)
    return None if least == inf else least


def _choices(problem: Problem, stream: Stream, routes: Sequence[Route]) -> tuple[int, list[Jobs]]:
    """Return the ways to give every job a route, and their number."""
    objective = problem.policy.objective
    if objective is Objective.THROUGHPUT:
        ways = combinations_with_replacement(routes, stream.jobs)
        count = comb(len(routes) + stream.jobs - 1, stream.jobs) if routes else 0
        return count, _bounded(count, ways)
    # Where the cost is a sum over jobs, all of them may take the route that is best for one.
    if objective not in _SIMULATED:
        return len(routes), [(route,) * stream.jobs for route in routes]
    return len(routes) ** stream.jobs, _bounded(len(routes) ** stream.jobs, product(routes, repeat=stream.jobs))


def _bounded(count: int, ways: Iterator[Jobs]) -> list[Jobs]:
    return list(ways) if count <= 100_000 else []


def _least_sum(costs: CostModel, choices: Sequence[tuple[int, list[Jobs]]]) -> float | None:
    """Return the least sum over streams of plans that fit into memory together."""
    problem, objective = costs.problem, costs.problem.policy.objective
    priced: list[list[tuple[float, StreamPlan]]] = []
    for stream, (_, own) in zip(problem.streams, choices, strict=True):
        entries = []
        for jobs in own:
            plan = _plan(jobs)
            predicted = costs.route_cost(stream, jobs[0])
            value = {
                Objective.LATENCY: predicted.latency_ms,
                Objective.ENERGY: predicted.energy_j,
                Objective.DEADLINE: costs.off_source_blocks(stream, jobs[0]),
            }[objective]
            entries.append((stream.jobs * value, plan))
        priced.append(entries)
    jobs_in_all = sum(stream.jobs for stream in problem.streams)
    names = [stream.name for stream in problem.streams]
    for chosen in sorted(product(*priced), key=lambda chosen: sum(value for value, _ in chosen)):
        plans = {name: plan for name, (_, plan) in zip(names, chosen, strict=True)}
        if not memory_violations(problem, plans):
            return sum(value for value, _ in chosen) / jobs_in_all
    return None


def _plan(jobs: Jobs) -> StreamPlan:
    """Return the plan in which each job takes its route, in this order."""
    routes = list(dict.fromkeys(jobs))
    counted = tuple(Route(route.stages, jobs.count(route)) for route in routes)
    # Jobs of one route stand side by side in the expanded list.
    first = {route: sum(jobs.count(other) for other in routes[:place]) for place, route in enumerate(routes)}
    order = []
    for route in jobs:
        order.append(first[route])
        first[route] += 1
    return StreamPlan(counted, tuple(order))


def _bottleneck_ms(costs: CostModel, plans: dict[str, StreamPlan]) -> float:
    busy: dict[object, float] = {}
    jobs = 0
    for name, plan in plans.items():
        for route in plan.routes:
            jobs += route.jobs
            for operation in costs.operations(costs.stream(name), route):
                busy[operation.resource] = busy.get(operation.resource, 0.0) + route.jobs * operation.duration_ms
    return max(busy.values(), default=0.0) / jobs


def _aggregate(objective: Objective, ends_ms: Sequence[float]) -> float:
    mean_ms = sum(ends_ms) / len(ends_ms)
    match objective:
        case Objective.MAKESPAN:
            return max(ends_ms)
        case Objective.TOTAL_DELAY:
            return sum(ends_ms)
        case _:
            return sum((each - mean_ms) ** 2 for each in ends_ms) / len(ends_ms)


def _interleavings(jobs: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield every order of streams, by place, in which each stands once per job."""
    everyone = [place for place, count in enumerate(jobs) for _ in range(count)]
    yield from sorted(set(permutations(everyone)))


def _usable_routes(costs: CostModel, stream: Stream, most: int) -> list[Route]:
    """Return every route that keeps the constraints without the other streams."""
    problem = costs.problem
    usable = []
    for count, route in enumerate(_every_route(problem, stream)):
        if count > most:
            raise TooLargeError(f"stream {stream.name} has more than {most} routes")
        if not violations(costs, {stream.name: StreamPlan((route,))}):
            usable.append(route)
    return usable


def _every_route(problem: Problem, stream: Stream) -> Iterator[Route]:
    """Yield every sequence of stages, possible or not, no two neighbours of which run whole on one device."""
    model = problem.models[stream.model]
    blocks = len(model.blocks)
    able = [name for name, device in problem.devices.items() if stream.model in device.block_ms]
    for stops in (ends for count in range(blocks) for ends in combinations(range(1, blocks), count)):
        bounds = [0, *stops, blocks]
        options = [list(_tilings(problem, stream, able, *ends)) for ends in pairwise(bounds)]
        codecs = [[each.codec for each in allowed_encodings(model, stop, problem.policy)] for stop in bounds[1:]]
        for tilings in product(*options):
            whole = [tiles[0].device if len(tiles) == 1 else None for tiles in tilings]
            if any(one is not None and one == other for one, other in pairwise(whole)):
                continue
            own = list(codecs)
            # An encoding counts only where something is sent.
            if stream.sink is None or whole[-1] == stream.sink:
                own[-1] = [RAW]
            for chosen in product(*own):
                stages = zip(bounds, bounds[1:], tilings, chosen, strict=False)
                yield Route(tuple(Stage(start, stop, tiles, codec) for start, stop, tiles, codec in stages))


def _tilings(
    problem: Problem, stream: Stream, able: Sequence[str], start: int, stop: int
) -> Iterator[tuple[Tile, ...]]:
    """Yield every way to compute a stage: on one device, or its rows shared out among several in any order."""
    model = problem.models[stream.model]
    yield from ((Tile(device),) for device in able)
    rows = model.blocks[stop - 1].rows
    if rows is None or segment_fault(model, start, stop) is not None:
        return
    for count in range(2, min(len(able), rows.output_rows) + 1):
        for devices in permutations(able, count):
            for inner in combinations(range(1, rows.output_rows), count - 1):
                bounds = [0, *inner, rows.output_rows]
                yield tuple(Tile(device, ends) for device, ends in zip(devices, pairwise(bounds), strict=True))
