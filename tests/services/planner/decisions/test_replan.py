"""Decisions whether a better plan is worth a reroute."""

import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planning.problem.plan import Plan
from planning.problem.problem import Problem
from planning.strategies import solve
from services.planner.decisions.candidates import Candidate, PlanInForce
from services.planner.decisions.committed_routes import joint_cost, to_message
from services.planner.decisions.cost_history import CostHistory
from services.planner.decisions.damping import Departure, is_return, remember
from services.planner.decisions.replan import Decision, Hold, Keep, RerouteDecision, decide
from services.planner.problems.problem_from_snapshot import Circumstances, build_problem, own_problem
from services.planner.problems.snapshot import FleetSnapshot, PolicySet
from shared.messages.devices import State
from shared.messages.events import RerouteCause
from shared.messages.streams import PlanRoute, PlanStage, PlanTile
from shared.policy import DeviceRule, Objective, Policy, QueueDiscipline
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import (
    CAMERAS,
    PI_MS,
    SHARED_MS,
    after,
    cameras,
    candidate_of,
    declaration,
    in_force_for,
    link,
    load,
    presence,
    problem_of,
    profile,
    route,
    world,
)

SERVER, PI = (route((0, 5, "server")),), (route((0, 5, "pi")),)


def judged(
    present: PlanInForce | None,
    snapshot: FleetSnapshot,
    departures: tuple[Departure, ...] = (),
    now_s: float = 100.0,
    live: bool = False,
) -> Decision:
    problem = problem_of(snapshot, now_s=now_s)
    candidate = replace(candidate_of(problem, live=live), present=present, departures=departures)
    return decide([candidate], problem, problem, snapshot, now_s)["camera"]


def test_tiles_that_may_no_longer_be_are_left_at_once() -> None:
    """As after a device has come back with an executor of an earlier release."""
    tiles = tuple(PlanTile(device=device, rows=rows) for device, rows in (("pi", (0, 8)), ("server", (8, 16))))
    stages = (
        PlanStage(start=0, stop=1, device="pi"),
        PlanStage(start=1, stop=3, device="pi", tiles=tiles),
        PlanStage(start=3, stop=5, device="pi"),
    )
    problem = problem_of(world())
    present = in_force_for(problem, (PlanRoute(stages=stages),))
    decision = judged(present, world())
    assert isinstance(decision, RerouteDecision)
    assert "device pi takes no part in routes with tiles" in decision.reason
    routes = {"camera": present.routes}
    assert CostHistory().observed(problem, [routes], 100.0).samples[-1].costs == {}


def left(at_s: float, *, returned: bool = False) -> Departure:
    return Departure(at_s, PI, returned)


def test_the_first_plan_needs_no_reason() -> None:
    decision = judged(None, world())
    assert isinstance(decision, RerouteDecision)
    assert decision.cause.cause is RerouteCause.FIRST_PLAN
    assert decision.reason == "first plan: server[0,5), 39 ms"
    assert decision.cost_before is None
    assert decision.cost_after == pytest.approx(39)


def test_the_best_plan_stays() -> None:
    assert judged(in_force_for(problem_of(world())), world()) == Keep()


@pytest.mark.parametrize(("mbps", "reroutes"), [(5.45, False), (5.0, True)])
def test_the_gain_must_exceed_the_policys(mbps: float, reroutes: bool) -> None:
    """The server needs 23 + 800 / mbps ms, the pi 165: a gain of 5 % begins at 5.33 Mbps."""
    decision = judged(in_force_for(problem_of(world())), world(link("pi", "server", mbps)))
    assert isinstance(decision, RerouteDecision if reroutes else Keep)


def test_no_reroute_before_the_cooldown_is_over() -> None:
    present, snapshot = in_force_for(problem_of(world())), world(link("pi", "server", 1.0))
    held = judged(present, snapshot, (left(99.0),))
    assert isinstance(held, Hold)
    assert held.until_s == 101.0
    assert held.cause.cause is RerouteCause.LINK_CHANGED
    assert isinstance(judged(present, snapshot, (left(98.0),)), RerouteDecision)


def test_a_device_in_use_that_is_gone_is_left_at_once() -> None:
    decision = judged(in_force_for(problem_of(world())), world(presence("server", State.OFFLINE)), (left(100.0),))
    assert isinstance(decision, RerouteDecision)
    assert decision.cause.cause is RerouteCause.DEVICE_LOST
    assert decision.cost_before is None
    assert decision.reason == "device server is gone: pi[0,5), 165 ms"


def test_a_link_in_use_that_is_dead_is_left_at_once() -> None:
    decision = judged(in_force_for(problem_of(world())), world(link("pi", "server", 0.0)), (left(100.0),))
    assert isinstance(decision, RerouteDecision)
    assert decision.cause.cause is RerouteCause.LINK_CHANGED
    assert decision.cost_before is None
    assert "no link from pi to server" in decision.reason


def test_a_missed_deadline_is_worth_any_gain_but_waits_for_the_cooldown() -> None:
    policy = PolicySet("camera", Policy(deadline_ms=166.0, min_gain=0.9))
    present = in_force_for(problem_of(world(policy)))
    snapshot = world(policy, link("pi", "server", 5.5))
    assert isinstance(judged(present, snapshot), RerouteDecision)
    assert isinstance(judged(present, snapshot, (left(100.0),)), Hold)


@pytest.mark.parametrize(
    "policy",
    [
        Policy(max_in_flight=2),
        Policy(retry_limit=1),
        Policy(queue=QueueDiscipline.SHORTEST_JOB_FIRST),
        Policy(deadline_ms=500.0),
    ],
)
def test_settings_of_the_policy_need_a_new_plan_even_on_the_same_route(policy: Policy) -> None:
    decision = judged(in_force_for(problem_of(world())), world(PolicySet("camera", policy)), (left(100.0),))
    assert isinstance(decision, RerouteDecision)
    assert decision.cause.cause is RerouteCause.POLICY_CHANGED


def test_what_only_the_planner_obeys_needs_none() -> None:
    changed = world(PolicySet("camera", Policy(min_gain=0.2, cooldown_ms=1.0)))
    assert judged(in_force_for(problem_of(world())), changed) == Keep()


def test_a_policy_that_forbids_the_present_route_moves_it_at_once() -> None:
    denied = world(PolicySet("camera", Policy(devices=DeviceRule(deny=("server",)))))
    decision = judged(in_force_for(problem_of(world())), denied, (left(100.0),))
    assert isinstance(decision, RerouteDecision)
    assert decision.cause.cause is RerouteCause.POLICY_CHANGED
    assert "does not allow device server" in decision.reason


def test_a_new_objective_takes_effect_at_once() -> None:
    energy = world(
        presence("pi", power_active_w=0.1), presence("server", power_active_w=90.0),
        PolicySet("camera", Policy(objective=Objective.ENERGY)),
    )  # fmt: skip
    decision = judged(in_force_for(problem_of(world())), energy, (left(100.0),))
    assert isinstance(decision, RerouteDecision)
    assert decision.cause.cause is RerouteCause.POLICY_CHANGED
    assert decision.reason.endswith("J")


def test_a_strategy_chosen_by_name_takes_effect_even_for_the_worse() -> None:
    before = problem_of(world())
    decision = judged(in_force_for(before), world(PolicySet("camera", Policy(strategy="local_only"))))
    assert isinstance(decision, RerouteDecision)
    assert decision.cause.cause is RerouteCause.POLICY_CHANGED
    assert decision.cost_before is not None
    assert decision.cost_after > decision.cost_before


def test_a_burst_of_another_size_needs_a_new_plan() -> None:
    burst = PolicySet("camera", Policy(objective=Objective.MAKESPAN))
    present = in_force_for(problem_of(world(declaration(jobs=6), burst)))
    decision = judged(present, world(declaration(jobs=9), burst))
    assert isinstance(decision, RerouteDecision)
    assert decision.reason.startswith("a burst has 9 requests now: ")


def test_a_new_model_or_declaration_needs_a_new_plan() -> None:
    other = manifest_of("b" * 64)
    changed = world(other, profile("pi", (1.0,) * 5, "b" * 64))
    decision = judged(in_force_for(problem_of(world())), changed, (left(100.0),))
    assert isinstance(decision, RerouteDecision)
    assert decision.cause.cause is RerouteCause.STREAM_CHANGED
    live = judged(in_force_for(problem_of(world())), world(), (left(100.0),), live=True)
    assert isinstance(live, RerouteDecision)
    assert live.cause.cause is RerouteCause.STREAM_CHANGED


def test_after_the_planners_start_a_plan_stays_if_it_is_good() -> None:
    present = replace(in_force_for(problem_of(world())), problem=None)
    assert judged(present, world()) == Keep()
    assert isinstance(judged(present, world(link("pi", "server", 1.0))), RerouteDecision)


def reroutes_under_noise(seed: int, noise: float, mbps: float, seconds: int) -> int:
    """Return how often a stream changes its route if link and load are measured once a second with noise."""
    generator = random.Random(seed)
    present = in_force_for(problem_of(world(mbps=mbps)))
    departures: tuple[Departure, ...] = ()
    count = 0
    for second in range(seconds):
        now_s = 100.0 + second
        snapshot = after(
            world(),
            link("pi", "server", mbps * generator.uniform(1 - noise, 1 + noise), at_s=now_s),
            load("pi", generator.uniform(1 - noise, 1 + noise), at_s=now_s),
            load("server", generator.uniform(1 - noise, 1 + noise), at_s=now_s),
            now_s=now_s,
        )
        problem = problem_of(snapshot, now_s=now_s)
        candidate = candidate_of(problem)
        candidate = replace(candidate, present=present, departures=departures)
        decision = decide([candidate], problem, problem, snapshot, now_s)["camera"]
        if isinstance(decision, RerouteDecision):
            returned = is_return(candidate.routes, departures, now_s)
            departures = remember(departures, Departure(now_s, present.routes, returned))
            present = in_force_for(problem, candidate.routes)
            count += 1
    return count


@given(st.integers(0, 10_000))
def test_noise_within_the_gain_never_reroutes(seed: int) -> None:
    assert reroutes_under_noise(seed, 0.02, 800 / (165 - 23), 60) == 0


@pytest.mark.parametrize("seed", range(5))
def test_strong_noise_around_a_tie_dies_out(seed: int) -> None:
    """Undamped, routes would change every few seconds: some 50 times in three minutes."""
    assert reroutes_under_noise(seed, 0.15, 800 / (165 - 23), 180) <= 12


def test_a_real_change_gets_through_the_damping() -> None:
    departures = tuple(left(99.0 + each / 10, returned=True) for each in range(5))
    assert isinstance(
        judged(in_force_for(problem_of(world())), world(link("pi", "server", 1.0)), departures, 110.0), RerouteDecision
    )


TOTAL = Policy(objective=Objective.TOTAL_DELAY)
ALL_REMOTE = {name: (route((0, 5, "server")),) for name in CAMERAS}


def joint(snapshot: FleetSnapshot, now_s: float = 100.0) -> Problem:
    return build_problem(snapshot, CAMERAS, Circumstances(now_s, {}))


def answers(snapshot: FleetSnapshot, now_s: float = 100.0) -> dict[str, Candidate]:
    problem = joint(snapshot, now_s)
    plan = solve(problem, seed=0, time_budget_s=0.1)
    assert isinstance(plan, Plan), plan
    found = {}
    for name in CAMERAS:
        own = own_problem(problem, name)
        routes = to_message(own, plan.streams[name])
        found[name] = Candidate(own, snapshot.policy(name), routes, plan.strategy, False)
    return found


def runs(
    problem: Problem, routes: Mapping[str, tuple[PlanRoute, ...]], policy: Policy = TOTAL
) -> dict[str, PlanInForce]:
    return {
        name: PlanInForce(1, MODEL, name, False, own, policy, problem)
        for name, own in routes.items()
        if name in CAMERAS
    }


def judged_together(
    present: Mapping[str, PlanInForce],
    snapshot: FleetSnapshot,
    departures: Mapping[str, tuple[Departure, ...]] | None = None,
    now_s: float = 100.0,
) -> dict[str, Decision]:
    problem, candidates = joint(snapshot, now_s), answers(snapshot, now_s)
    compared = [
        replace(candidates[name], present=present.get(name), departures=(departures or {}).get(name, ()))
        for name in CAMERAS
    ]
    return decide(compared, problem, problem, snapshot, now_s)


def chosen_for(snapshot: FleetSnapshot) -> dict[str, tuple[PlanRoute, ...]]:
    return {name: each.routes for name, each in answers(snapshot).items()}


def test_the_first_plans_of_several_streams_give_their_joint_cost() -> None:
    decisions = judged_together({}, cameras(TOTAL))
    cost = joint_cost(joint(cameras(TOTAL)), chosen_for(cameras(TOTAL)))
    for name, decision in decisions.items():
        assert isinstance(decision, RerouteDecision)
        assert decision.cause.cause is RerouteCause.FIRST_PLAN
        assert decision.together == CAMERAS
        assert decision.cost_after == pytest.approx(cost)
        others = ", ".join(other for other in CAMERAS if other != name)
        assert decision.reason.endswith(f"{cost:.0f} ms together with {others}")


def test_the_joint_plan_stays_while_it_is_the_best() -> None:
    snapshot = cameras(TOTAL)
    present = runs(joint(snapshot), chosen_for(snapshot))
    assert set(judged_together(present, snapshot).values()) == {Keep()}


def test_those_move_whose_routes_change_for_the_sake_of_all() -> None:
    """Planned alone, each takes the server, where their requests wait for each other."""
    snapshot = cameras(TOTAL)
    problem, chosen = joint(snapshot), chosen_for(snapshot)
    decisions = judged_together(runs(problem, ALL_REMOTE), snapshot)
    moved = {name for name, own in chosen.items() if own[0].stages != ALL_REMOTE[name][0].stages}
    assert moved
    assert moved != set(CAMERAS)
    for name, decision in decisions.items():
        if name not in moved:
            assert decision == Keep()
            continue
        assert isinstance(decision, RerouteDecision)
        assert decision.routes == chosen[name]
        assert decision.cost_before == pytest.approx(joint_cost(problem, ALL_REMOTE))
        assert decision.cost_after == pytest.approx(joint_cost(problem, chosen))
        assert " ms -> " in decision.reason
        assert " together with " in decision.reason


def test_the_cooldown_of_any_stream_that_would_move_holds_all_back() -> None:
    snapshot = cameras(TOTAL)
    present = runs(joint(snapshot), ALL_REMOTE)
    moved = [name for name, each in judged_together(present, snapshot).items() if isinstance(each, RerouteDecision)]
    departures = {moved[-1]: (left(99.0),)}
    for name, decision in judged_together(present, snapshot, departures).items():
        expected = Hold if name in moved else Keep
        assert isinstance(decision, expected)
        assert not isinstance(decision, Hold) or decision.until_s == pytest.approx(101.0)
    later = judged_together(present, snapshot, departures, now_s=101.5)
    assert [name for name, each in later.items() if isinstance(each, RerouteDecision)] == moved


def test_the_gain_is_that_of_all_streams_together() -> None:
    snapshot = cameras(TOTAL)
    problem, chosen = joint(snapshot), chosen_for(snapshot)
    gain = joint_cost(problem, ALL_REMOTE) / joint_cost(problem, chosen) - 1
    for asked, reroutes in ((0.9 * gain, True), (min(1.0, 1.1 * gain), False)):
        policy = replace(TOTAL, min_gain=asked)
        decisions = judged_together(runs(problem, ALL_REMOTE, policy), cameras(policy))
        assert any(isinstance(each, RerouteDecision) for each in decisions.values()) == reroutes


def test_a_stream_that_lost_its_device_moves_at_once_and_the_others_after_the_cooldown() -> None:
    helper = after(cameras(TOTAL), presence("helper"), profile("helper", SHARED_MS), link("east", "helper", 50.0))
    present = runs(joint(helper), {**ALL_REMOTE, "east": (route((0, 5, "helper")),)})
    gone = after(helper, presence("helper", State.OFFLINE))
    departures = {name: (left(99.5),) for name in CAMERAS}
    decisions = judged_together(present, gone, departures)
    east = decisions["east"]
    assert isinstance(east, RerouteDecision)
    assert east.cause.cause is RerouteCause.DEVICE_LOST
    assert east.cost_before is None
    assert not any(isinstance(decisions[name], RerouteDecision) for name in ("north", "west"))
    final = {**{name: each.routes for name, each in present.items()}, "east": east.routes}
    assert east.cost_after == pytest.approx(joint_cost(joint(gone), final))


def test_a_policy_that_joins_a_stream_to_others_moves_all_at_once() -> None:
    snapshot = cameras(TOTAL)
    present = runs(joint(snapshot), ALL_REMOTE)
    present["east"] = replace(present["east"], policy=Policy())
    departures = {name: (left(99.9),) for name in CAMERAS}
    reroutes = {name: each for name, each in judged_together(present, snapshot, departures).items() if each != Keep()}
    assert reroutes
    assert all(isinstance(each, RerouteDecision) for each in reroutes.values())
    told = {name: each.cause.text for name, each in reroutes.items() if isinstance(each, RerouteDecision)}
    assert set(told.values()) <= {"policy changed", "stream east: policy changed"}


def test_new_settings_of_one_stream_are_put_in_force_on_its_present_routes() -> None:
    snapshot = cameras(TOTAL)
    chosen = chosen_for(snapshot)
    changed = after(snapshot, PolicySet("north", replace(TOTAL, retry_limit=9)))
    decisions = judged_together(runs(joint(snapshot), chosen), changed)
    north = decisions.pop("north")
    assert isinstance(north, RerouteDecision)
    assert north.routes == chosen["north"]
    assert north.cause.text == "policy changed"
    assert set(decisions.values()) == {Keep()}


def test_streams_that_no_longer_fit_together_move_at_once() -> None:
    other = manifest_of("b" * 64, "other")
    small = after(
        cameras(TOTAL),
        other,
        profile("server", SHARED_MS, other.model),
        profile("east", PI_MS, other.model),
        declaration("east", source="east", model="other"),
        presence("server", memory_bytes=4_700_000),
    )
    present = runs(joint(small), ALL_REMOTE)
    present["east"] = replace(present["east"], model=other.model)
    departures = {name: (left(99.9),) for name in CAMERAS}
    decisions = judged_together(present, small, departures)
    moved = [each for each in decisions.values() if isinstance(each, RerouteDecision)]
    assert moved
    assert all("bytes of memory" in each.reason for each in moved)


def test_more_than_a_few_streams_are_counted() -> None:
    names = tuple(f"camera{number}" for number in range(6))
    snapshot = cameras(TOTAL, *names)
    problem = build_problem(snapshot, names, Circumstances(100.0, {}))
    candidates = []
    for name in names:
        own = own_problem(problem, name)
        candidates.append(Candidate(own, TOTAL, (route((0, 5, name)),), "auto", False))
    (decision, *_) = decide(candidates, problem, problem, snapshot, 100.0).values()
    assert isinstance(decision, RerouteDecision)
    assert decision.reason.endswith("together with 5 other streams")
