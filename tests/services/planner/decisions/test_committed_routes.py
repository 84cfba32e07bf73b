"""Routes of strategies and routes on the bus."""

from dataclasses import replace

import pytest

from planning.cost.cost_model import CostModel
from planning.problem.plan import Constraint, CostPrediction, Plan, Route, Stage, StreamPlan, Tile, sequential_route
from planning.strategies import solve
from services.planner.decisions.committed_routes import (
    MAX_RUNS,
    TiledRouteError,
    broken_constraints,
    burst_jobs,
    describe_cost,
    describe_routes,
    devices_of,
    joint_cost,
    same_routes,
    tiles_fault,
    to_message,
    to_plan,
    to_route,
)
from services.planner.problems.snapshot import PolicySet
from shared.messages.streams import PlanRoute, PlanStage, PlanTile
from shared.policy import DeviceRule, Objective, Policy
from tests.support.planner_world import candidate_of, declaration, problem_of, route, world

SPLIT = route((0, 3, "pi"), (3, 5, "server"))


MIX = (
    sequential_route([(0, 5, "pi", "raw")], jobs=2),
    sequential_route([(0, 3, "pi", "raw"), (3, 5, "server", "raw")], jobs=4),
)


def policy(objective: Objective) -> PolicySet:
    return PolicySet("camera", Policy(objective=objective))


def test_weights_lose_their_common_factor_and_latency_is_per_route() -> None:
    problem = problem_of(world(declaration(jobs=6), policy(Objective.THROUGHPUT)))
    routes = to_message(problem, StreamPlan(MIX, tuple(range(6))))
    assert [each.weight for each in routes] == [1, 2]
    assert routes[0].predicted_ms == pytest.approx(165)
    assert routes[1].predicted_ms == pytest.approx(85 + 2 + 8 * 200_000 / 50_000 + 10)
    assert [each.jobs for each in to_plan(problem, routes)["camera"].routes] == [2, 4]


def test_routes_of_a_burst_come_in_the_order_in_which_its_jobs_start() -> None:
    problem = problem_of(world(declaration(jobs=6), policy(Objective.MAKESPAN)))
    plan = StreamPlan(MIX, (2, 3, 0, 1, 4, 5))
    routes = to_message(problem, plan)
    assert [(len(each.stages), each.weight) for each in routes] == [(2, 2), (1, 2), (2, 2)]
    started = to_plan(problem, routes)["camera"].jobs_in_order()
    assert [each.stages for each in started] == [each.stages for each in plan.jobs_in_order()]
    assert joint_cost(problem, {"camera": routes}) == pytest.approx(CostModel(problem).makespan_ms({"camera": plan}))
    other = to_message(problem, StreamPlan(MIX, (2, 3, 4, 5, 0, 1)))
    assert joint_cost(problem, {"camera": routes}) > joint_cost(problem, {"camera": other})


def test_an_order_with_too_many_runs_is_started_route_by_route() -> None:
    jobs = 2 * (MAX_RUNS + 1)
    problem = problem_of(world(declaration(jobs=jobs), policy(Objective.MAKESPAN)))
    half = jobs // 2
    order = tuple(place for pair in zip(range(half), range(half, jobs), strict=True) for place in pair)
    routes = to_message(problem, StreamPlan(tuple(Route(route.stages, half) for route in MIX), order))
    assert [(len(each.stages), each.weight) for each in routes] == [(1, half), (2, half)]


@pytest.mark.parametrize("objective", list(Objective))
def test_a_stream_has_bursts_unless_only_what_it_can_sustain_matters(objective: Objective) -> None:
    problem = problem_of(world(declaration(jobs=6), policy(objective)))
    assert burst_jobs(problem) == (1 if objective is Objective.THROUGHPUT else 6)


HALVES = (Tile("server", (4, 8)), Tile("pi", (0, 4)))


@pytest.mark.parametrize(
    ("stages", "place"),
    [
        ((Stage(0, 5, HALVES),), "first"),
        ((Stage(0, 2, (Tile("pi"),)), Stage(2, 5, HALVES)), "last"),
        ((Stage(0, 2, HALVES), Stage(2, 5, (Tile("pi"),))), "first"),
    ],
)
def test_tiles_at_the_ends_of_a_route_cannot_be_run(stages: tuple[Stage, ...], place: str) -> None:
    tiled = StreamPlan((Route(stages),))
    with pytest.raises(TiledRouteError, match=f"its {place} stage is split"):
        to_message(problem_of(world()), tiled)
    plain = solve(problem_of(world()), seed=0, time_budget_s=0.1)
    assert isinstance(plain, Plan)
    assert tiles_fault(plain) is None
    assert place in (tiles_fault(replace(plain, streams={"camera": tiled})) or "")


def test_a_route_with_tiles_is_the_same_on_the_bus_and_back() -> None:
    route = Route((Stage(0, 1, (Tile("pi"),)), Stage(1, 3, HALVES, "float16"), Stage(3, 5, (Tile("server"),))), 2)
    plan = Plan("s", Objective.LATENCY, {"camera": StreamPlan((route,))}, CostPrediction(0, None, 0, 0), 0.0)
    assert tiles_fault(plan) is None
    stages = tuple(
        PlanStage(
            start=stage.start,
            stop=stage.stop,
            device=stage.tiles[-1].device,
            codec=stage.codec,
            tiles=tuple(PlanTile(device=tile.device, rows=tile.rows) for tile in reversed(stage.tiles) if tile.rows),
        )
        for stage in route.stages
    )
    message = PlanRoute(stages=stages)
    back = to_route(message, 2)
    assert back == replace(route, stages=tuple(replace(each, tiles=each.tiles[::-1]) for each in route.stages))
    assert devices_of((message,)) == ("pi", "server")


def test_cost_is_what_the_objective_makes_small() -> None:
    def cost(objective: Objective) -> float:
        return joint_cost(problem_of(world(PolicySet("camera", Policy(objective=objective)))), {"camera": (SPLIT,)})

    assert cost(Objective.LATENCY) == pytest.approx(85 + 34 + 10)
    assert cost(Objective.THROUGHPUT) == pytest.approx(85)
    assert cost(Objective.DEADLINE) == 2


@pytest.mark.parametrize(
    ("routes", "constraint"),
    [
        ((route((0, 5, "moon")),), Constraint.ROUTE),
        ((route((0, 4, "pi")),), Constraint.ROUTE),
        ((route((0, 5, "server")),), Constraint.DEVICES),
        ((route((0, 5, "pi")),), Constraint.DEADLINE),
    ],
)
def test_what_a_route_breaks(routes: tuple[PlanRoute, ...], constraint: Constraint) -> None:
    policy = Policy(devices=DeviceRule(deny=("server",)), deadline_ms=100.0)
    broken = broken_constraints(problem_of(world(PolicySet("camera", policy))), routes)
    assert constraint in [violation.constraint for violation in broken]


def test_the_best_route_breaks_nothing() -> None:
    problem = problem_of(world())
    assert broken_constraints(problem, candidate_of(problem).routes) == ()


def test_predictions_do_not_make_routes_different() -> None:
    assert same_routes((SPLIT,), (SPLIT.model_copy(update={"predicted_ms": 5.0}),))
    assert not same_routes((SPLIT,), (route((0, 3, "pi"), (3, 5, "server"), weight=2),))
    backwards = (route((0, 5, "pi")), SPLIT)
    assert same_routes((SPLIT, route((0, 5, "pi"))), backwards)
    assert not same_routes((SPLIT, route((0, 5, "pi"))), backwards, in_order=True)
    assert devices_of((SPLIT, route((0, 5, "pi")))) == ("pi", "server")


def test_words_for_people() -> None:
    assert describe_routes((SPLIT,)) == "pi[0,3) > server[3,5)"
    assert describe_cost(Objective.LATENCY, 211.6) == "212 ms"
    assert describe_cost(Objective.ENERGY, 0.3125) == "0.312 J"
