"""Overload of routes by the rate of requests."""

import pytest

from services.planner.decisions.overload import overload
from services.planner.problems.snapshot import PolicySet
from shared.messages.streams import PlanRoute
from shared.policy import Objective, Policy
from tests.support.planner_world import declaration, problem_of, route, world

# 165 ms, so at most 6.06 requests per second.
ON_PI = (route((0, 5, "pi")),)


def said(rate_hz: float, routes: tuple[PlanRoute, ...] = ON_PI, *, already: bool = False) -> str:
    return overload(problem_of(world()), routes, rate_hz, already=already)


def test_the_device_that_cannot_keep_up_is_named() -> None:
    assert "device pi" in said(7.0)
    assert "segue policy set camera --objective throughput" in said(7.0)
    assert said(5.0) == "" == said(0.0)


def test_noise_around_the_limit_changes_nothing() -> None:
    assert said(6.1) == ""
    assert said(6.1, already=True) != ""
    assert said(5.0, already=True) == ""


def test_routes_take_their_share_of_the_requests() -> None:
    mixed = (route((0, 5, "pi")), route((0, 5, "server"), weight=3))
    assert said(20.0, mixed) == ""
    assert "device pi" in said(26.0, mixed), "every fourth request takes 165 ms"


def test_sending_can_be_what_is_too_slow() -> None:
    assert "sending from pi" in overload(
        problem_of(world(mbps=1.0)), (route((0, 3, "pi"), (3, 5, "server")),), 2.0, already=False
    )


def test_no_advice_where_it_is_taken_already() -> None:
    problem = problem_of(world(PolicySet("camera", Policy(objective=Objective.THROUGHPUT))))
    assert "objective" not in overload(problem, ON_PI, 7.0, already=False)


@pytest.mark.parametrize("routes", [(route((0, 5, "gone")),), (route((0, 4, "pi")),)])
def test_routes_that_cannot_run_have_no_overload(routes: tuple[PlanRoute, ...]) -> None:
    assert said(100.0, routes) == ""


def test_nor_of_bursts() -> None:
    problem = problem_of(world(declaration(jobs=4)))
    assert overload(problem, ON_PI, 100.0, already=False) == ""
