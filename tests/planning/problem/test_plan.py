import pytest

from planning.problem.plan import Constraint, Infeasible, Route, Stage, StreamPlan, Tile, Violation, sequential_route
from shared.policy import Objective

HALVES = (Tile("a", (0, 5)), Tile("b", (5, 9)))


def test_a_sequential_route_has_one_tile_per_stage() -> None:
    route = sequential_route([(0, 2, "a", "int8"), (2, 5, "b", "raw"), (5, 6, "a", "raw")], 3)
    assert route.stages[0] == Stage(0, 2, (Tile("a"),), "int8")
    assert (route.jobs, route.tiled, route.devices) == (3, False, ("a", "b"))


def test_a_stage_of_several_tiles_has_no_single_device() -> None:
    stage = Stage(0, 2, HALVES)
    assert stage.tiled
    assert Route((stage,)).tiled
    assert Route((stage,)).devices == ("a", "b")
    with pytest.raises(ValueError, match=r"stage \[0, 2\) is split over 2 tiles"):
        _ = stage.device


def test_jobs_take_their_routes_in_order() -> None:
    often, once = sequential_route([(0, 1, "a", "raw")], 2), sequential_route([(0, 1, "b", "raw")])
    plan = StreamPlan((often, once), (2, 0, 1))
    assert plan.expanded() == (often, often, once)
    assert plan.jobs_in_order() == (once, often, often)


def test_an_infeasible_answer_says_by_how_much() -> None:
    late = Violation(Constraint.DEADLINE, "s", "too late", 10.0, 12.5)
    denied = Violation(Constraint.DEVICES, "a", "device a is denied")
    assert (late.excess, denied.excess) == (2.5, None)
    assert Infeasible("auto", Objective.LATENCY, (late, denied)).reason == "too late; device a is denied"
