"""The change that causes a reroute."""

import pytest

from planning.problem.plan import Plan
from planning.problem.problem import Problem
from planning.strategies import solve
from services.planner.decisions.causes import Cause, find_cause
from services.planner.decisions.committed_routes import to_message
from services.planner.problems.problem_from_snapshot import Circumstances, build_problem, own_problem
from services.planner.problems.snapshot import Change, FleetSnapshot
from shared.messages.devices import LinkEstimate, Links, State
from shared.messages.events import RerouteCause
from shared.messages.streams import PlanRoute, StreamUsage
from shared.policy import Objective, Policy
from tests.support.planner_world import (
    CAMERAS,
    SERVER_MS,
    after,
    cameras,
    candidate_of,
    link,
    load,
    presence,
    problem_of,
    profile,
    route,
    world,
)


def cause_of(before: FleetSnapshot, *changes: Change) -> Cause:
    now = after(before, *changes, now_s=120.0)
    old, new = problem_of(before), problem_of(now)
    return find_cause(old, new, {"camera": candidate_of(old).routes}, {"camera": candidate_of(new).routes}, now)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        (
            (link("pi", "server", 4.1, at_s=7.0),),
            Cause(RerouteCause.LINK_CHANGED, "link pi->server fell from 50.0 to 4.1 Mbps", 120.0),
        ),
        (
            (link("pi", "server", 50.0, latency_ms=400.0, at_s=7.0),),
            Cause(RerouteCause.LINK_CHANGED, "latency of link pi->server rose from 2.0 to 400.0 ms", 120.0),
        ),
        (
            (load("server", 9.0, at_s=8.0),),
            Cause(RerouteCause.LOAD_CHANGED, "load factor of server rose from 1.0 to 9.0", 120.0),
        ),
        ((presence("server", State.OFFLINE),), Cause(RerouteCause.DEVICE_LOST, "device server is gone", 120.0)),
        (
            (profile("server", tuple(50 * each for each in SERVER_MS)),),
            Cause(RerouteCause.PROFILE_CHANGED, "profile of server changed", None),
        ),
        (
            (StreamUsage(stream="camera", input_bytes=2_000_000),),
            Cause(RerouteCause.STREAM_CHANGED, "requests rose from 100.0 to 2000.0 kB", None),
        ),
        ((link("pi", "server", 0.0, at_s=9.0),), Cause(RerouteCause.LINK_CHANGED, "link pi->server is dead", 120.0)),
        ((link("server", "pi", 0.0, at_s=9.0),), Cause(RerouteCause.LINK_CHANGED, "link server->pi is dead", 120.0)),
    ],
)
def test_the_only_change_is_the_cause(changes: tuple[Change, ...], cause: Cause) -> None:
    assert cause_of(world(), *changes) == cause


def test_of_several_changes_the_one_that_matters_is_the_cause() -> None:
    noise = (link("server", "pi", 20.0), load("pi", 1.3), presence("idle"))
    assert cause_of(world(), *noise, load("server", 30.0)).cause is RerouteCause.LOAD_CHANGED
    assert cause_of(world(), *noise, link("pi", "server", 2.0)).cause is RerouteCause.LINK_CHANGED


def test_a_device_that_comes_is_the_cause_of_a_better_route() -> None:
    before = world(presence("server", State.OFFLINE))
    assert cause_of(before, presence("server")) == Cause(RerouteCause.DEVICE_BACK, "device server joined", 120.0)
    both = Links(
        device="pi",
        sent_at_s=1.0,
        links=tuple(LinkEstimate(target=each, bandwidth_mbps=50.0, latency_ms=2.0) for each in ("server", "jetson")),
    )
    faster = (presence("jetson"), profile("jetson", tuple(each / 5 for each in SERVER_MS)), both)
    assert cause_of(world(), *faster).text == "device jetson joined"


def test_a_link_that_appears_is_the_cause() -> None:
    alone = world(Links(device="pi", sent_at_s=1.0), Links(device="server", sent_at_s=1.0))
    assert cause_of(alone, link("pi", "server", 50.0, at_s=5.0)) == Cause(
        RerouteCause.LINK_CHANGED, "link pi->server appeared", 120.0
    )


def test_without_any_change_a_better_route_was_found() -> None:
    problem = problem_of(world())
    routes = {"camera": candidate_of(problem).routes}
    assert find_cause(problem, problem, routes, routes, world()).text == "a better route was found"


TOTAL = Policy(objective=Objective.TOTAL_DELAY)


def joint(snapshot: FleetSnapshot, *names: str) -> Problem:
    return build_problem(snapshot, names, Circumstances(100.0, {}))


def routes_for(problem: Problem) -> dict[str, tuple[PlanRoute, ...]]:
    plan = solve(problem, seed=0, time_budget_s=0.1)
    assert isinstance(plan, Plan)
    return {name: to_message(own_problem(problem, name), own) for name, own in plan.streams.items()}


def test_a_stream_that_joins_is_the_cause() -> None:
    snapshot = cameras(TOTAL)
    before, now = joint(snapshot, "east", "north"), joint(snapshot, "east", "north", "west")
    alone = {name: (route((0, 5, "server")),) for name in ("east", "north")}
    chosen = routes_for(now)
    cause = find_cause(before, now, {**alone, "west": chosen["west"]}, chosen, snapshot)
    assert cause == Cause(RerouteCause.STREAM_CHANGED, "stream west is planned together with the others now")


def test_a_stream_that_leaves_is_the_cause() -> None:
    snapshot = cameras(TOTAL)
    before, now = joint(snapshot, "east", "north", "west"), joint(snapshot, "east", "north")
    present = {name: own for name, own in routes_for(before).items() if name != "west"}
    cause = find_cause(before, now, present, routes_for(now), snapshot)
    assert cause.text == "stream west is no longer planned together with the others"


def test_in_a_group_too_the_change_that_matters_is_the_cause() -> None:
    snapshot = cameras(TOTAL)
    later = after(snapshot, load("server", 9.0, at_s=8.0), link("east", "server", 60.0))
    before, now = joint(snapshot, *CAMERAS), joint(later, *CAMERAS)
    cause = find_cause(before, now, routes_for(before), routes_for(now), later)
    assert cause == Cause(RerouteCause.LOAD_CHANGED, "load factor of server rose from 1.0 to 9.0", 100.0)
