"""Thresholds of the plan in force: exact, told when they are news, and what is kept warm for them."""

from dataclasses import replace

import pytest
from planner_fleet import MODEL, manifest_of
from planner_world import candidate_of, declaration, link, problem_of, profile, world

from services.planner.alternatives import Survey, is_news, nearest, survey, warm_segments
from services.planner.routes import cost_of
from services.planner.snapshot import PolicySet
from services.planner.strategies import solve
from shared.messages.alternatives import Alternatives, Quantity, Threshold
from shared.messages.streams import CommittedPlan
from shared.plan.plan import Plan
from shared.plan.policy import Objective, Policy
from shared.plan.problem import Problem


def committed(problem: Problem, epoch: int = 1) -> CommittedPlan:
    routes = candidate_of(problem).routes
    return CommittedPlan(stream="camera", epoch=epoch, model=MODEL, source="pi", strategy="auto", routes=routes)


def surveyed(problem: Problem) -> Alternatives:
    return survey(Survey(committed(problem), problem))


def on(found: Alternatives, quantity: Quantity, device: str) -> Threshold:
    return next(each for each in found.thresholds if (each.quantity, each.device) == (quantity, device))


def test_ranges_are_exact() -> None:
    """The server needs 23 + 800 / mbps ms and 16 of its 21 ms more for every load; the pi needs 165 ms."""
    found = surveyed(problem_of(world()))
    bandwidth = on(found, Quantity.BANDWIDTH, "pi")
    assert (bandwidth.target, bandwidth.value, bandwidth.latency_ms) == ("server", 50.0, 2.0)
    assert bandwidth.low == pytest.approx(800 / (165 - 23)) and bandwidth.leave_above is None
    assert bandwidth.leave_below == pytest.approx(800 / (1.05 * 165 - 23))
    assert bandwidth.below is not None and [stage.device for stage in bandwidth.below.stages] == ["pi"]
    load = on(found, Quantity.LOAD, "server")
    assert load.high == pytest.approx((165 - 18) / 21) and load.leave_below is None
    assert load.leave_above == pytest.approx((1.05 * 165 - 18) / 21)
    assert [each.device for each in found.thresholds] == ["pi", "server"]


@pytest.mark.parametrize("step", [0.99, 1.01])
def test_the_planner_agrees_on_either_side_of_a_threshold(step: float) -> None:
    problem = problem_of(world(mbps=8.0))
    plan = committed(problem)
    for each in survey(Survey(plan, problem)).thresholds:
        for leave, outside in ((each.leave_below, step < 1), (each.leave_above, step > 1)):
            if leave is None or each.quantity is not Quantity.BANDWIDTH:
                continue
            links = tuple(replace(known, bandwidth_mbps=leave * step) for known in problem.links)
            there = replace(problem, links=links)
            best = solve(there, seed=0, time_budget_s=0.1)
            assert isinstance(best, Plan)
            assert (cost_of(there, plan.routes) > 1.05 * best.cost) == outside


def test_a_plan_that_is_kept_though_another_gains_a_little_has_no_range() -> None:
    good = problem_of(world())
    now = problem_of(world(link("pi", "server", 5.5)))
    bandwidth = on(survey(Survey(committed(good), now)), Quantity.BANDWIDTH, "pi")
    assert bandwidth.low == bandwidth.high == 5.5
    assert bandwidth.leave_below == pytest.approx(800 / (1.05 * 165 - 23))


def test_a_plan_whose_reroute_is_held_back_has_none() -> None:
    assert survey(Survey(committed(problem_of(world())), problem_of(world(link("pi", "server", 2.0))))).thresholds == ()


@pytest.mark.parametrize("objective", [Objective.THROUGHPUT, Objective.ENERGY, Objective.MAKESPAN])
def test_other_objectives_have_no_thresholds(objective: Objective) -> None:
    assert surveyed(problem_of(world(PolicySet("camera", Policy(objective=objective))))).thresholds == ()


def test_bursts_and_plans_that_cannot_run_have_none() -> None:
    assert surveyed(problem_of(world(declaration(jobs=3)))).thresholds == ()
    problem = problem_of(world())
    devices = {name: device for name, device in problem.devices.items() if name == "pi"}
    assert survey(Survey(committed(problem), replace(problem, devices=devices, links=()))).thresholds == ()


def test_thresholds_are_news_when_they_move_or_lead_elsewhere() -> None:
    found = surveyed(problem_of(world()))
    assert is_news(None, found) and not is_news(found, found)
    assert not is_news(None, found.model_copy(update={"thresholds": ()}))
    assert is_news(found, found.model_copy(update={"epoch": 2}))
    first, *others = found.thresholds
    assert first.leave_below is not None and first.below is not None
    for factor, expected in ((1.04, False), (1.06, True)):
        moved = first.model_copy(update={"leave_below": first.leave_below * factor})
        assert is_news(found, found.model_copy(update={"thresholds": (moved, *others)})) is expected
    elsewhere = first.below.model_copy(update={"stages": ()})
    other = first.model_copy(update={"below": elsewhere})
    assert is_news(found, found.model_copy(update={"thresholds": (other, *others)}))


def test_the_nearest_alternatives_are_kept_warm_if_they_fit() -> None:
    problem = problem_of(world())
    plan, found = committed(problem), surveyed(problem)
    (only,) = nearest(found)
    assert [stage.device for stage in only.stages] == ["pi"]
    warm = warm_segments(plan, found, manifest_of(), problem)
    assert {device: [(each.start, each.stop) for each in ranges] for device, ranges in warm.items()} == {"pi": [(0, 5)]}
    small = {**problem.devices, "pi": replace(problem.devices["pi"], memory_bytes=5_000_000)}
    assert warm_segments(plan, found, manifest_of(), replace(problem, devices=small)) == {}


def test_what_is_kept_warm_includes_what_the_plan_needs_of_the_device() -> None:
    stays = PolicySet("camera", Policy(raw_input_stays_on_source=True))
    problem = problem_of(world(profile("pi", (1.0, 1.0, 1.0, 1.0, 200.0)), stays, mbps=20.0))
    plan = committed(problem)
    assert len(plan.routes[0].stages) == 2
    warm = warm_segments(plan, survey(Survey(plan, problem)), manifest_of(), problem)
    own = {stage.device: (stage.start, stage.stop) for stage in plan.routes[0].stages}
    assert warm
    for device, ranges in warm.items():
        held = [(each.start, each.stop) for each in ranges]
        assert len(held) > (device in own) and own.get(device, held[0]) in held
