"""Routes of the shapes that published algorithms choose among: one cut between the source and one helper."""

from collections.abc import Sequence

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.problem.crossings import Encoding, allowed_encodings
from planning.problem.plan import Route, sequential_route
from planning.problem.problem import Problem, Stream
from planning.search.result import same_route_for_all


def split_route(
    problem: Problem,
    stream: Stream,
    helper: str,
    cut: int,
    codec: str | None = None,
    offers: Sequence[Sequence[Encoding]] | None = None,
) -> Route:
    """Return the route with blocks [0, cut) on the source and the rest on ``helper``.

    Args:
        problem: the problem.
        stream: one of its streams.
        helper: the device of the blocks after the cut.
        cut: number of blocks at the source.
        codec: encoding of what crosses the cut; without one, the plainest encoding that the policy allows.
        offers: the allowed encodings by cut, if they are known already.
    """
    model = problem.models[stream.model]
    blocks = len(model.blocks)
    stages = []
    for start, stop, device in ((0, cut, stream.source), (cut, blocks, helper)):
        if start < stop:
            plainest = (offers[stop] if offers else allowed_encodings(model, stop, problem.policy))[0].codec
            stages.append((start, stop, device, codec if codec and stop == cut else plainest))
    return sequential_route(stages)


def local_route(problem: Problem, stream: Stream, costs: CostModel) -> Route | None:
    """Return the route that runs everything on the source, or None if it cannot."""
    if stream.model not in problem.devices[stream.source].block_ms:
        return None
    if stream.sink is not None and not costs.linked(stream.source, stream.sink):
        return None
    return split_route(problem, stream, stream.source, len(problem.models[stream.model].blocks))


def keeps_constraints(problem: Problem, stream: Stream, route: Route, costs: CostModel | None = None) -> bool:
    """Return whether all jobs of ``stream`` may take ``route``, without the other streams.

    All may where one may, because no constraint counts jobs.

    ``costs`` is the cost model of the problem, if there is one already.
    """
    return not violations(costs or CostModel(problem), {stream.name: same_route_for_all(route, 1)})
