"""Utilisation of devices and their sending by a plan, at the rates of its streams."""

from collections import defaultdict
from collections.abc import Mapping

from planning.cost.cost_model import CostModel
from planning.problem.plan import StreamPlan
from planning.problem.problem import Problem
from planning.queueing.operations import Resource, ServerKey, Work
from shared.policy import Objective


def utilisation(
    costs: CostModel, plans: Mapping[str, StreamPlan], rates_hz: Mapping[str, float]
) -> dict[Resource, float]:
    """Return the share of time that every device computes and sends: rate x busy time per request / 1000.

    Above 1 requests queue without end. Of a device with separate links, the busiest of them counts.

    Args:
        costs: of the problem.
        plans: routes by stream; a stream's requests take them in proportion to their jobs.
        rates_hz: requests per second by stream; a stream without a rate counts nothing.
    """
    by_server: defaultdict[ServerKey, float] = defaultdict(float)
    for name, plan in plans.items():
        stream, rate_hz = costs.problem.stream(name), rates_hz.get(name, 0.0)
        jobs = sum(route.jobs for route in plan.routes)
        for route in plan.routes:
            for server, busy_ms in costs.server_ms(stream, route).items():
                by_server[server] += rate_hz * route.jobs / jobs * busy_ms / 1000
    shares: dict[Resource, float] = {}
    for (device, work, _), share in by_server.items():
        shares[device, work] = max(share, shares.get((device, work), 0.0))
    return shares


def busiest(shares: Mapping[Resource, float]) -> tuple[Resource, float] | None:
    """Return the resource with the largest share, and the share; None if there is none."""
    return max(shares.items(), key=lambda item: item[1], default=None)


def describe_resource(resource: Resource) -> str:
    """Return a resource in words."""
    device, work = resource
    return f"device {device}" if work is Work.COMPUTE else f"sending from {device}"


def overload_warning(problem: Problem, plans: Mapping[str, StreamPlan]) -> str | None:
    """Return the warning that a plan is too slow for the steady rates of its streams; None if it is not."""
    rates_hz = {stream.name: stream.rate_hz for stream in problem.streams if stream.rate_hz and stream.jobs == 1}
    bottleneck = busiest(utilisation(CostModel(problem), plans, rates_hz))
    if bottleneck is None or bottleneck[1] <= 1:
        return None
    resource, share = bottleneck
    advice = "" if problem.policy.objective is Objective.THROUGHPUT else " (the objective throughput asks for that)"
    return (
        f"at the streams' rate_hz {describe_resource(resource)} would be busy {share:.0%} of the time, so requests "
        f"queue without end: fewer requests, or a plan that takes more{advice}"
    )
