"""Thresholds of the plan in force: exact, published when they move, and the segments kept warm for them."""

from dataclasses import replace
from typing import Any

import pytest

from planning.cost.cost_model import CostModel
from planning.problem.plan import Plan
from planning.problem.problem import Problem
from planning.strategies import solve
from services.planner.decisions.committed_routes import joint_cost, to_route
from services.planner.decisions.damping import Departure
from services.planner.decisions.switching_ranges import (
    ThresholdJob,
    find_thresholds,
    is_noteworthy,
    nearest,
    warm_segments,
)
from services.planner.problems.snapshot import PolicySet
from shared.messages.alternatives import Alternatives, Threshold, ThresholdQuantity
from shared.messages.streams import CommittedPlan
from shared.policy import Objective, Policy
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import candidate_of, declaration, link, problem_of, profile, world


def committed(problem: Problem, epoch: int = 1) -> CommittedPlan:
    routes = candidate_of(problem).routes
    return CommittedPlan(stream="camera", epoch=epoch, model=MODEL, source="pi", strategy="auto", routes=routes)


def thresholds_of(problem: Problem) -> Alternatives:
    return find_thresholds(ThresholdJob(committed(problem), problem))


def on(found: Alternatives, quantity: ThresholdQuantity, device: str) -> Threshold:
    return next(each for each in found.thresholds if (each.quantity, each.device) == (quantity, device))


def test_ranges_are_exact() -> None:
    """The server needs 23 + 800 / mbps ms and 16 of its 21 ms more for every load; the pi needs 165 ms."""
    found = thresholds_of(problem_of(world()))
    bandwidth = on(found, ThresholdQuantity.BANDWIDTH, "pi")
    assert (bandwidth.target, bandwidth.value, bandwidth.latency_ms) == ("server", 50.0, 2.0)
    assert bandwidth.low == pytest.approx(800 / (165 - 23))
    assert bandwidth.leave_above is None
    assert bandwidth.leave_below == pytest.approx(800 / (1.05 * 165 - 23))
    assert bandwidth.below is not None
    assert [stage.device for stage in bandwidth.below.stages] == ["pi"]
    load = on(found, ThresholdQuantity.LOAD, "server")
    assert load.high == pytest.approx((165 - 18) / 21)
    assert load.leave_below is None
    assert load.leave_above == pytest.approx((1.05 * 165 - 18) / 21)
    assert [each.device for each in found.thresholds] == ["pi", "server"]


@pytest.mark.parametrize("step", [0.99, 1.01])
def test_the_planner_agrees_on_either_side_of_a_threshold(step: float) -> None:
    problem = problem_of(world(mbps=8.0))
    plan = committed(problem)
    judged = 0
    for each in find_thresholds(ThresholdJob(plan, problem)).thresholds:
        for leave, outside in ((each.leave_below, step < 1), (each.leave_above, step > 1)):
            if leave is None or each.quantity is not ThresholdQuantity.BANDWIDTH:
                continue
            links = tuple(replace(known, bandwidth_mbps=leave * step) for known in problem.links)
            there = replace(problem, links=links)
            best = solve(there, seed=0, time_budget_s=0.1)
            assert isinstance(best, Plan)
            assert (joint_cost(there, {plan.stream: plan.routes}) > 1.05 * best.cost) == outside
            judged += 1
    assert judged


def test_a_plan_that_is_kept_though_another_gains_a_little_has_no_range() -> None:
    good = problem_of(world())
    now = problem_of(world(link("pi", "server", 5.5)))
    bandwidth = on(find_thresholds(ThresholdJob(committed(good), now)), ThresholdQuantity.BANDWIDTH, "pi")
    assert bandwidth.low == bandwidth.high == 5.5
    assert bandwidth.leave_below == pytest.approx(800 / (1.05 * 165 - 23))


def test_a_plan_whose_reroute_is_held_back_has_none() -> None:
    assert (
        find_thresholds(
            ThresholdJob(committed(problem_of(world())), problem_of(world(link("pi", "server", 2.0))))
        ).thresholds
        == ()
    )


@pytest.mark.parametrize("objective", [Objective.THROUGHPUT, Objective.MAKESPAN, Objective.TOTAL_DELAY])
def test_other_objectives_have_no_thresholds(objective: Objective) -> None:
    assert thresholds_of(problem_of(world(PolicySet("camera", Policy(objective=objective))))).thresholds == ()


@pytest.mark.parametrize("strategy", ["remote_only", "neurosurgeon", "masud"])
def test_strategies_that_are_not_exact_have_no_thresholds(strategy: str) -> None:
    problem = problem_of(world())
    named = replace(problem, policy=replace(problem.policy, strategy=strategy))
    assert thresholds_of(problem).thresholds
    assert find_thresholds(ThresholdJob(committed(problem), named)).thresholds == ()


def powered(problem: Problem, **policy: Any) -> Problem:
    """Return the problem with 4 W of the pi for computing and 1 W for sending, and 20 W of the server."""
    watts = {"pi": (0.0, 4.0, 1.0, 0.0), "server": (0.0, 20.0, 0.0, 0.5)}
    devices = {
        name: replace(device, power_idle_w=idle, power_active_w=active, power_tx_w=tx, power_rx_w=rx)
        for name, device in problem.devices.items()
        for idle, active, tx, rx in [watts[name]]
    }
    return replace(problem, devices=devices, policy=Policy(**policy))


def test_energy_is_a_line_as_well() -> None:
    """The pi takes 165 ms at 4 W: 0.66 J. The server takes 21 ms at 20 W, and sending 2 + 800 / mbps ms at 1.5 W."""
    problem = powered(problem_of(world()), objective=Objective.ENERGY)
    found = thresholds_of(problem)
    bandwidth = on(found, ThresholdQuantity.BANDWIDTH, "pi")
    assert [stage.device for stage in committed(problem).routes[0].stages] == ["server"]
    assert bandwidth.low == pytest.approx(800 / ((660 - 420) / 1.5 - 2))
    assert bandwidth.leave_below == pytest.approx(800 / ((1.05 * 660 - 420) / 1.5 - 2))
    assert bandwidth.below is not None
    assert [stage.device for stage in bandwidth.below.stages] == ["pi"]
    load = on(found, ThresholdQuantity.LOAD, "server")
    assert load.leave_above == pytest.approx((1.05 * 660 - 1.5 * 18) / 420)


def test_a_deadline_that_a_change_would_break_is_left_at_once() -> None:
    """The server takes 23 + 800 / mbps ms, the pi 165 ms: the one misses 168 ms before the other gains 5 %."""
    problem = problem_of(world(PolicySet("camera", Policy(deadline_ms=168.0))))
    bandwidth = on(thresholds_of(problem), ThresholdQuantity.BANDWIDTH, "pi")
    assert bandwidth.leave_below == pytest.approx(800 / (168 - 23))
    assert bandwidth.low == pytest.approx(800 / (165 - 23))
    assert bandwidth.below is not None
    assert [stage.device for stage in bandwidth.below.stages] == ["pi"]


def bounded(objective: Objective) -> Problem:
    """Return a problem whose cheapest route would be the pi alone, 165 ms, too late."""
    problem = powered(problem_of(world(mbps=20.0)), objective=objective, deadline_ms=150.0)
    frugal = replace(problem.devices["pi"], power_active_w=0.1)
    return replace(problem, devices={**problem.devices, "pi": frugal})


@pytest.mark.parametrize("objective", [Objective.DEADLINE, Objective.ENERGY])
def test_what_a_deadline_bounds_is_left_where_the_deadline_is_missed(objective: Objective) -> None:
    problem = bounded(objective)
    plan, found, stream = committed(problem), thresholds_of(problem), problem.streams[0]
    own = to_route(plan.routes[0])
    assert len(own.devices) == 2
    led_elsewhere = 0
    for each in found.thresholds:
        is_link = each.quantity is ThresholdQuantity.BANDWIDTH
        end, leave, route = (
            (each.low, each.leave_below, each.below) if is_link else (each.high, each.leave_above, each.above)
        )
        assert (each.high if is_link else each.low) == each.value, "on the other side nothing is urgent"
        if leave is None or route is None:
            continue
        assert leave == end
        assert CostModel(changed(problem, each, end)).latency_ms(stream, own) == pytest.approx(150.0)
        beyond = changed(problem, each, end * (0.9999 if is_link else 1.0001))
        best = solve(beyond, seed=0, time_budget_s=0.1)
        assert (
            CostModel(beyond).latency_ms(stream, own) > 150.0 >= CostModel(beyond).latency_ms(stream, to_route(route))
        )
        assert isinstance(best, Plan)
        assert joint_cost(beyond, {plan.stream: (route,)}) == pytest.approx(best.cost)
        led_elsewhere += 1
    assert led_elsewhere >= 2


def changed(problem: Problem, threshold: Threshold, value: float) -> Problem:
    if threshold.quantity is ThresholdQuantity.LOAD:
        device = replace(problem.devices[threshold.device], load_factor=value)
        return replace(problem, devices={**problem.devices, threshold.device: device})
    ends = threshold.device, threshold.target
    links = (
        replace(link, bandwidth_mbps=value) if (link.source, link.target) == ends else link for link in problem.links
    )
    return replace(problem, links=tuple(links))


def test_to_come_back_needs_as_much_more_gain_as_the_planner_asks_for() -> None:
    """The server needs 23 + 800 / mbps ms, the pi 165: left lately, it has to gain 10 % instead of 5."""
    problem = problem_of(world())
    found = thresholds_of(problem)
    below = on(found, ThresholdQuantity.BANDWIDTH, "pi").below
    assert below is not None
    for returned, gain in ((False, 0.1), (True, 0.2)):
        left = Departure(at_s=5.0, routes=(below,), returned=returned)
        damped = on(
            find_thresholds(ThresholdJob(committed(problem), problem, {}, (left,))), ThresholdQuantity.BANDWIDTH, "pi"
        )
        assert damped.leave_below == pytest.approx(800 / ((1 + gain) * 165 - 23))
        assert damped.low == on(found, ThresholdQuantity.BANDWIDTH, "pi").low


def test_a_load_threshold_gives_the_slowdown_by_other_streams() -> None:
    problem = problem_of(world())
    found = find_thresholds(ThresholdJob(committed(problem), problem, {"server": 0.5}))
    assert on(found, ThresholdQuantity.LOAD, "server").sharing == 2.0
    assert on(found, ThresholdQuantity.BANDWIDTH, "pi").sharing == 1.0


def test_bursts_and_plans_that_cannot_run_have_none() -> None:
    assert thresholds_of(problem_of(world(declaration(jobs=3)))).thresholds == ()
    problem = problem_of(world())
    devices = {name: device for name, device in problem.devices.items() if name == "pi"}
    assert (
        find_thresholds(ThresholdJob(committed(problem), replace(problem, devices=devices, links=()))).thresholds == ()
    )


def test_thresholds_are_noteworthy_when_they_move_or_lead_elsewhere() -> None:
    found = thresholds_of(problem_of(world()))
    assert is_noteworthy(None, found)
    assert not is_noteworthy(found, found)
    assert not is_noteworthy(None, found.model_copy(update={"thresholds": ()}))
    assert is_noteworthy(found, found.model_copy(update={"epoch": 2}))
    first, *others = found.thresholds
    assert first.leave_below is not None
    assert first.below is not None
    for factor, expected in ((1.04, False), (1.06, True)):
        moved = first.model_copy(update={"leave_below": first.leave_below * factor})
        assert is_noteworthy(found, found.model_copy(update={"thresholds": (moved, *others)})) is expected
    elsewhere = first.below.model_copy(update={"stages": ()})
    other = first.model_copy(update={"below": elsewhere})
    assert is_noteworthy(found, found.model_copy(update={"thresholds": (other, *others)}))


def test_the_nearest_alternatives_are_kept_warm_if_they_fit() -> None:
    problem = problem_of(world())
    plan, found = committed(problem), thresholds_of(problem)
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
    warm = warm_segments(plan, find_thresholds(ThresholdJob(plan, problem)), manifest_of(), problem)
    own = {stage.device: (stage.start, stage.stop) for stage in plan.routes[0].stages}
    assert warm
    for device, ranges in warm.items():
        held = [(each.start, each.stop) for each in ranges]
        assert len(held) > (device in own)
        assert own.get(device, held[0]) in held
