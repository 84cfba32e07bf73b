"""Diagnosis of streams without a plan: the constraints that exclude every route, and by how much."""

from collections.abc import Sequence
from dataclasses import replace

from planning.cost.constraints import deadline_violation, memory_violations, violations
from planning.cost.cost_model import CostModel
from planning.problem.plan import Constraint, Infeasible, Route, StreamPlan, Violation
from planning.problem.problem import Problem, Stream
from planning.search.chain_path import cheapest_path
from planning.search.cost_tables import build_tables, latency_measure
from planning.search.label_search import search_labels
from planning.search.limits import limits_of
from planning.search.result import same_route_for_all
from planning.search.route_programme import least_memory_plan
from planning.search.tiled_bounds import may_split
from shared.policy import DeviceRule, Policy

# Share of the time budget for each search for a reason.
SHARE = 0.1


def diagnose(problem: Problem, stream: Stream, time_budget_s: float) -> tuple[Violation, ...]:
    """Return the constraints that keep ``stream`` from having a plan.

    The first of these that applies:

    1. Nothing, if the stream does have a plan.
    2. The policy permits none of the devices that can run the model.
    3. The deadline, with the least latency within all other constraints.
    4. Every constraint whose removal alone would give the stream a plan. Of memory, the least that would help is said
       where the problem is small.
    5. All constraints that the fastest unconstrained route breaks.
    6. There is no route at all.

    Where the search for a plan ends without a proof, a reason of its own says so.
    """
    time_budget_s *= SHARE
    plan, proved = search_fastest(problem, stream.name, time_budget_s)
    if plan is not None:
        return ()
    reasons = _broken(problem, stream, time_budget_s)
    return reasons if proved else (*reasons, unproved(problem, stream))


def unproved(problem: Problem, stream: Stream) -> Violation:
    """Return the reason that the search for a plan of ``stream`` has ended too early."""
    beside = ", beside the other streams" if len(problem.streams) > 1 else ""
    message = f"stream {stream.name}: no plan found within the time budget{beside}"
    return Violation(Constraint.SUPPORT, stream.name, message)


def no_plan(
    problem: Problem, strategy: str, reasons: Sequence[Violation], time_budget_s: float, *, proved: bool = True
) -> Infeasible:
    """Return the answer that no plan keeps the constraints.

    Args:
        problem: the problem.
        strategy: name of the algorithm.
        reasons: the constraints that cannot be met.
        time_budget_s: of the strategy.
        proved: whether it is proved that there is no plan without tiles. The answer is proved only if that is so, no
            reason is about the strategy itself, and tiles do not help.
    """
    proved = proved and all(reason.constraint is not Constraint.SUPPORT for reason in reasons)
    if proved and may_split(problem):
        # A tile takes less time and memory than a whole stage. It needs the same devices and links.
        eased = _endless_memory(without_deadlines(problem))
        ends = (search_fastest(eased, stream.name, time_budget_s * SHARE) for stream in problem.streams)
        proved = (None, True) in ends
    return Infeasible(strategy, problem.policy.objective, tuple(reasons), proved=proved)


def no_joint_plan(problem: Problem, strategy: str, time_budget_s: float) -> Infeasible:
    """Return the proved answer that no plan keeps the constraints, and the reasons of every stream or of memory."""
    reasons = tuple(reason for stream in problem.streams for reason in diagnose(problem, stream, time_budget_s))
    # The proof is there already, whatever the search for reasons has proved.
    known = tuple(reason for reason in reasons if reason.constraint is not Constraint.SUPPORT)
    if not known:
        least = least_memory_plan(problem)
        missing = memory_violations(problem, least) if least else ()
        known = (Violation(Constraint.MEMORY, strategy, "the streams do not fit together"), *missing)
    return no_plan(problem, strategy, known, time_budget_s)


def _broken(problem: Problem, stream: Stream, time_budget_s: float) -> tuple[Violation, ...]:
    """Return the constraints for which a stream without a plan has none; see `diagnose`."""
    able = [name for name, device in problem.devices.items() if stream.model in device.block_ms]
    if able and not any(map(problem.policy.devices.permits, able)):
        return (_none_permitted(problem.policy.devices, stream, able),)
    # The deadline comes first, because the least latency without it shows by how much it is missed.
    limit = problem.deadline_ms(stream)
    if limit is not None:
        relaxed = without_deadlines(problem)
        plan = fastest(relaxed, stream.name, time_budget_s)
        if plan is not None:
            latency_ms = CostModel(relaxed).latency_ms(relaxed.stream(stream.name), plan.routes[0])
            return (deadline_violation(stream, limit, latency_ms),)
    broken: list[Violation] = []
    for constraint, relaxed in relaxations(problem):
        plan = fastest(relaxed, stream.name, time_budget_s)
        if plan is None:
            continue
        plans = {stream.name: plan}
        if constraint is Constraint.MEMORY:
            # The fastest plan may need far more memory than another one.
            plans = least_memory_plan(replace(problem, streams=(stream,))) or plans
        broken += violations(CostModel(problem), plans)
    if broken:
        return tuple(dict.fromkeys(broken))
    plan = fastest(_unconstrained(problem), stream.name, time_budget_s)
    if plan is not None:
        return violations(CostModel(problem), {stream.name: plan})
    return (_unreachable(problem, stream),)


def fastest_within(problem: Problem, stream: Stream, time_budget_s: float) -> Route | None:
    """Return the quickest route that keeps the constraints without the other streams; None if none is found."""
    plan = fastest(problem, stream.name, time_budget_s * SHARE / len(problem.streams))
    return None if plan is None else Route(plan.routes[0].stages)


def fastest(problem: Problem, name: str, time_budget_s: float) -> StreamPlan | None:
    """Return a stream's quickest route within its constraints, for all of its jobs; None if none is found."""
    return search_fastest(problem, name, time_budget_s)[0]


def search_fastest(problem: Problem, name: str, time_budget_s: float) -> tuple[StreamPlan | None, bool]:
    """Return a stream's quickest route within its constraints, for all of its jobs, and whether that is proved.

    The route is None if none is found. The result is exact while the shortest path keeps the constraints. Otherwise the
    label search may end before it has a proof.

    Args:
        problem: the problem; its other streams do not count.
        name: the stream's name.
        time_budget_s: time for the label search in seconds.
    """
    stream = problem.stream(name)
    tables = build_tables(problem, stream)
    latency = latency_measure(tables)
    path = cheapest_path(latency)
    proved = True
    if path is not None:
        plan = same_route_for_all(tables.route(path.devices, path.codecs, 1), stream.jobs)
        # The plain path is the quickest of all routes, so a search is only needed where it breaks a constraint.
        if violations(CostModel(problem), {name: plan}):
            outcome = search_labels(tables, latency, None, limits_of(problem, tables, time_budget_s))
            path, proved = outcome.path, outcome.proved
    if path is None:
        return None, proved
    return same_route_for_all(tables.route(path.devices, path.codecs, 1), stream.jobs), proved


def relaxations(problem: Problem) -> list[tuple[Constraint, Problem]]:
    """Return the problem without each of its constraints in turn, except for the deadline."""
    policy = problem.policy
    relaxed = [
        (Constraint.DEVICES, _with_policy(problem, replace(policy, devices=DeviceRule()))),
        (Constraint.RAW_INPUT, _with_policy(problem, replace(policy, raw_input_stays_on_source=False))),
        (Constraint.MAX_DEVICES, _with_policy(problem, replace(policy, max_devices=None))),
        (Constraint.MEMORY, _endless_memory(problem)),
    ]
    return [(constraint, candidate) for constraint, candidate in relaxed if candidate != problem]


def without_deadlines(problem: Problem) -> Problem:
    """Return the problem without the deadlines of its streams and of its policy."""
    streams = tuple(replace(stream, deadline_ms=None) for stream in problem.streams)
    return replace(problem, streams=streams, policy=replace(problem.policy, deadline_ms=None))


def _unconstrained(problem: Problem) -> Problem:
    policy = replace(problem.policy, devices=DeviceRule(), raw_input_stays_on_source=False, max_devices=None)
    return _endless_memory(without_deadlines(_with_policy(problem, policy)))


def _with_policy(problem: Problem, policy: Policy) -> Problem:
    return replace(problem, policy=policy)


def _endless_memory(problem: Problem) -> Problem:
    devices = {name: replace(device, memory_bytes=None, first_blocks=None) for name, device in problem.devices.items()}
    return replace(problem, devices=devices)


def _none_permitted(rule: DeviceRule, stream: Stream, able: list[str]) -> Violation:
    """Return the reason of a policy that allows none of the devices that can run the stream's model."""
    keys = ("devices.deny",) if rule.allow is None else ("devices.allow", "devices.deny")
    message = (
        f"stream {stream.name}: the policy allows none of the devices that can run the model "
        f"({', '.join(able)}): change {' or '.join(keys if rule.deny else keys[:1])} so that one of them may"
    )
    return Violation(Constraint.DEVICES, stream.name, message)


def _unreachable(problem: Problem, stream: Stream) -> Violation:
    able = [name for name, device in problem.devices.items() if stream.model in device.block_ms]
    if not able:
        message = f"stream {stream.name}: no device can run model {stream.model}"
    elif stream.sink is None:
        message = f"stream {stream.name}: none of {', '.join(able)} can be reached from {stream.source}"
    else:
        message = f"stream {stream.name}: no route from {stream.source} to {stream.sink}"
    return Violation(Constraint.ROUTE, stream.name, message)


def no_split(stream: Stream, strategy: str) -> Violation:
    """Return the reason of an algorithm that finds no plan of its shape, although there may be others."""
    message = f"stream {stream.name}: no plan of the shape that {strategy} considers keeps the constraints"
    return Violation(Constraint.ROUTE, stream.name, message)
