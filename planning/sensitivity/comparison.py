"""Explanations of a decision: the constraints that bind it, and the changes that would overturn it."""

from dataclasses import dataclass, replace

from planning.cost.thresholds import Parameter, Range, bandwidth_parameter, load_parameter, ranges
from planning.problem.plan import Constraint, Plan, Route
from planning.problem.problem import Problem, Stream
from planning.search.infeasibility import fastest, relaxations, without_deadlines
from planning.strategies.registry import solve, with_strategy
from planning.strategies.shortest_path import ShortestPath
from shared.policy import Objective, Policy

# Bandwidths and loads are varied from a hundredth to a hundred times their present value.
SPAN = 100.0
# Time budget in seconds of each search of an envelope that is not a dynamic programme.
SEARCH_BUDGET_S = 0.05


@dataclass(frozen=True, slots=True)
class Binding:
    """A constraint without which the cost would fall to ``cost``."""

    constraint: Constraint
    cost: float


@dataclass(frozen=True, slots=True)
class Change:
    """A quantity, its present value, the range in which the present route stays the fastest, and the routes beyond.

    ``below`` and ``above`` are the routes that take over at the ends of the range; None where no route does.
    """

    quantity: str
    unit: str
    value: float
    low: float
    high: float
    below: Route | None
    above: Route | None


def binding_constraints(problem: Problem, plan: Plan, time_budget_s: float) -> tuple[Binding, ...]:
    """Return the constraints without which the plan would cost less, the one with the largest gain first.

    Args:
        problem: the problem.
        plan: its plan.
        time_budget_s: time in seconds for each problem without one of the constraints, which ``auto`` solves.
    """
    bindings = []
    lifted = list(relaxations(problem))
    plain = Policy()
    codecs = replace(
        problem,
        policy=replace(
            problem.policy,
            codec=plain.codec,
            min_top1_agreement=plain.min_top1_agreement,
            max_relative_error=plain.max_relative_error,
        ),
    )
    lifted += [(Constraint.DEADLINE, without_deadlines(problem)), (Constraint.CODEC, codecs)]
    for constraint, relaxed in lifted:
        if relaxed == problem:
            continue
        answer = solve(with_strategy(relaxed, plain.strategy), time_budget_s=time_budget_s)
        if isinstance(answer, Plan) and answer.cost < plan.cost * (1 - 1e-9):
            bindings.append(Binding(constraint, answer.cost))
    return tuple(sorted(bindings, key=lambda entry: entry.cost))


def overturning_changes(problem: Problem, stream: Stream) -> tuple[Change, ...]:
    """Return, for every link and device, the range of its bandwidth or load in which the fastest route stays so."""
    changes: list[Change] = []
    for link in problem.links:
        dial = bandwidth_parameter(problem, (link.source, link.target))
        pieces = ranges_around(dial, stream, Objective.LATENCY)
        changes += _around(f"bandwidth {link.source} - {link.target}", "Mbps", dial.value, pieces)
    for name in problem.devices:
        dial = load_parameter(problem, name)
        pieces = ranges_around(dial, stream, Objective.LATENCY)
        changes += _around(f"load factor of {name}", "", dial.value, pieces)
    return tuple(changes)


def ranges_around(dial: Parameter, stream: Stream, objective: Objective) -> tuple[Range, ...]:
    """Return the best single routes from a hundredth to a hundred times the present value."""
    best = fastest_route if objective is Objective.LATENCY else best_route
    return ranges(dial, stream, objective, best, low=dial.value / SPAN, high=dial.value * SPAN)


def best_route(problem: Problem, stream: Stream) -> Route | None:
    """Return the best single route for the policy's objective within all constraints; None without a proof."""
    # One job: thresholds are about the route of a request, not about the queues of a burst.
    alone = replace(problem, streams=(replace(stream, jobs=1),))
    answer = ShortestPath().solve(alone, seed=0, time_budget_s=SEARCH_BUDGET_S)
    return answer.streams[stream.name].routes[0] if isinstance(answer, Plan) and answer.optimal else None


def fastest_route(problem: Problem, stream: Stream) -> Route | None:
    """Return the route of least latency within the constraints other than the deadline, by `fastest`."""
    plan = fastest(without_deadlines(problem), stream.name, time_budget_s=1.0)
    return None if plan is None else Route(plan.routes[0].stages)


def _around(quantity: str, unit: str, value: float, ranges: tuple[Range, ...]) -> list[Change]:
    """Return the range around the present value, if there is another on either side."""
    for index, piece in enumerate(ranges):
        if piece.low <= value <= piece.high and len(ranges) > 1:
            below = ranges[index - 1].route if index else None
            above = ranges[index + 1].route if index + 1 < len(ranges) else None
            return [Change(quantity, unit, value, piece.low, piece.high, below, above)]
    return []
