"""The route that a policy states."""

from dataclasses import replace

import pytest

from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.problem.route_reading import read_route
from planning.strategies.pinned import Pinned
from tests.support.two_device_problem import two_device_problem


def pinned(problem: Problem, route: str | None) -> Plan | Infeasible:
    posed = replace(problem, policy=replace(problem.policy, route=route))
    return Pinned().solve(posed, seed=0, time_budget_s=0.1)


def test_the_route_is_taken_whatever_it_costs() -> None:
    problem = two_device_problem()
    blocks = len(next(iter(problem.models.values())).blocks)
    first, second = problem.devices
    text = f"{first}[0,1) > {second}[1,{blocks})"
    plan = pinned(problem, text)
    assert isinstance(plan, Plan)
    assert all(each.routes[0].stages == read_route(text).stages for each in plan.streams.values())


@pytest.mark.parametrize(
    ("route", "reason"),
    [
        (None, "the policy states none"),
        ("elsewhere[0,9)", "elsewhere of the pinned route is not there"),
        ("{first}[0,1)", "ends after block 1"),
        ("{first}(", "is no stage"),
    ],
)
def test_a_route_that_cannot_be_is_refused_with_the_reason(route: str | None, reason: str) -> None:
    problem = two_device_problem()
    text = None if route is None else route.format(first=next(iter(problem.devices)))
    answer = pinned(problem, text)
    assert isinstance(answer, Infeasible)
    assert reason in answer.reason
