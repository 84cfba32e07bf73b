"""Routes of the simple shapes that published algorithms choose among: one cut between the source and one helper."""

from collections.abc import Iterator

from services.planner.strategies.strategy import uniform
from shared.plan.constraints import violations
from shared.plan.cost import CostModel
from shared.plan.cuts import allowed_encodings
from shared.plan.plan import Route, sequential_route
from shared.plan.problem import Problem, Stream


def split_route(problem: Problem, stream: Stream, helper: str, cut: int, codec: str | None = None) -> Route:
    """Return the route with blocks [0, cut) on the source and the rest on ``helper``.

    What crosses the cut travels as ``codec``, without one in the plainest encoding that the policy allows.
    """
    model = problem.models[stream.model]
    blocks = len(model.blocks)
    stages = []
    for start, stop, device in ((0, cut, stream.source), (cut, blocks, helper)):
        if start < stop:
            plainest = allowed_encodings(model, stop, problem.policy)[0].codec
            stages.append((start, stop, device, codec if codec and stop == cut else plainest))
    return sequential_route(stages)


def split_routes(problem: Problem, stream: Stream, helper: str, cut: int) -> Iterator[Route]:
    """Yield `split_route` in every encoding that the policy allows at the cut."""
    model = problem.models[stream.model]
    if not 0 < cut < len(model.blocks):
        yield split_route(problem, stream, helper, cut)
        return
    for encoding in allowed_encodings(model, cut, problem.policy):
        yield split_route(problem, stream, helper, cut, encoding.codec)


def helpers(problem: Problem, stream: Stream, costs: CostModel | None = None) -> tuple[str, ...]:
    """Return the other devices that can run the stream's model, may be used and can be reached from its source.

    With many streams, ``costs`` of the problem saves indexing its links for every one.
    """
    costs = costs or CostModel(problem)
    return tuple(
        name
        for name, device in problem.devices.items()
        if name != stream.source
        and stream.model in device.block_ms
        and problem.policy.devices.permits(name)
        and costs.linked(stream.source, name)
        and (stream.sink is None or costs.linked(name, stream.sink))
    )


def local_route(problem: Problem, stream: Stream) -> Route | None:
    """Return the route that runs everything on the source, or None if it cannot."""
    if stream.model not in problem.devices[stream.source].block_ms:
        return None
    if stream.sink is not None and not CostModel(problem).linked(stream.source, stream.sink):
        return None
    return split_route(problem, stream, stream.source, len(problem.models[stream.model].blocks))


def splits(problem: Problem, stream: Stream) -> Iterator[tuple[Route, str, int]]:
    """Yield every route with at most one cut between the source and one helper, with the helper and the cut.

    A cut comes once for every encoding that the policy allows there. The local route comes first, with the source as
    its own helper.
    """
    local = local_route(problem, stream)
    blocks = len(problem.models[stream.model].blocks)
    if local is not None:
        yield local, stream.source, blocks
    for helper in helpers(problem, stream):
        for cut in range(blocks if local is not None else 1):
            for route in split_routes(problem, stream, helper, cut):
                yield route, helper, cut


def keeps_constraints(problem: Problem, stream: Stream, route: Route, costs: CostModel | None = None) -> bool:
    """Say whether all jobs of ``stream`` may take ``route``, other streams left aside; ``costs`` saves indexing."""
    return not violations(costs or CostModel(problem), {stream.name: uniform(route, stream.jobs)})
