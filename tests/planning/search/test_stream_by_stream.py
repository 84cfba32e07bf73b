"""The frame of strategies that plan every stream for itself."""

import random
from collections.abc import Callable
from dataclasses import replace

from planning.problem.plan import Constraint, Infeasible, Plan, Route
from planning.problem.problem import Problem, Stream
from planning.search.planning_context import PlanningContext, context_of
from planning.search.simple_routes import local_route
from planning.search.stream_by_stream import plan_each_stream
from shared.policy import Objective, Policy


def _two_alike_and_one_burst(make_problem: Callable[..., Problem]) -> PlanningContext:
    rng = random.Random("each stream")
    problem = make_problem(rng, Objective.LATENCY)
    while "m" not in problem.devices["d0"].block_ms:
        problem = make_problem(rng, Objective.LATENCY)
    stream = Stream("a", "m", "d0")
    streams = (stream, replace(stream, name="b"), replace(stream, name="c", jobs=3))
    return context_of(replace(problem, streams=streams))


def test_streams_that_differ_in_their_name_only_are_decided_once(make_problem: Callable[..., Problem]) -> None:
    context = _two_alike_and_one_burst(make_problem)
    asked: list[str] = []

    def choose(stream: Stream) -> Route | None:
        asked.append(stream.name)
        return local_route(context.problem, stream, context.costs)

    answer = plan_each_stream(context, "any", choose, 0.1)
    assert isinstance(answer, Plan)
    assert asked == ["a", "c"]
    assert answer.streams["a"].routes == answer.streams["b"].routes
    assert [route.jobs for route in answer.streams["c"].routes] == [3]


def test_without_a_choice_the_answer_names_the_shape_of_the_strategy(make_problem: Callable[..., Problem]) -> None:
    context = _two_alike_and_one_burst(make_problem)
    answer = plan_each_stream(context, "any", lambda stream: None, 0.1)
    assert isinstance(answer, Infeasible)
    (reason,) = answer.reasons
    assert (reason.constraint, reason.subject) == (Constraint.ROUTE, "a")
    assert "the shape that any considers" in reason.message


def test_without_any_plan_the_answer_names_the_constraint(make_problem: Callable[..., Problem]) -> None:
    context = _two_alike_and_one_burst(make_problem)
    problem = replace(context.problem, policy=Policy(deadline_ms=1e-9))
    answer = plan_each_stream(context_of(problem), "any", lambda stream: None, 0.1)
    assert isinstance(answer, Infeasible)
    assert [reason.constraint for reason in answer.reasons] == [Constraint.DEADLINE]
