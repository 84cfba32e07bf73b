"""When a better plan is worth a reroute."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_fleet import manifest_of
from planner_world import (
    after,
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

from services.planner.replan import (
    DAMPING_WINDOW_S,
    Decision,
    Departure,
    Hold,
    InForce,
    Keep,
    Reroute,
    decide,
    is_return,
    remember,
    required_gain,
)
from services.planner.snapshot import PolicySet, Snapshot
from shared.messages.devices import State
from shared.messages.events import RerouteCause
from shared.plan.policy import DeviceRule, Objective, Policy, QueueDiscipline

SERVER, PI = (route((0, 5, "server")),), (route((0, 5, "pi")),)


def judged(
    present: InForce | None,
    snapshot: Snapshot,
    departures: tuple[Departure, ...] = (),
    now_s: float = 100.0,
    live: bool = False,
) -> Decision:
    problem = problem_of(snapshot, now_s=now_s)
    return decide(present, candidate_of(problem, live=live), problem, snapshot, departures, now_s)


def left(at_s: float, *, returned: bool = False) -> Departure:
    return Departure(at_s, PI, returned)


def test_the_first_plan_needs_no_reason() -> None:
    decision = judged(None, world())
    assert isinstance(decision, Reroute) and decision.cause.cause is RerouteCause.FIRST_PLAN
    assert decision.reason == "first plan: server[0,5), 39 ms"
    assert (decision.cost_before, decision.cost_after) == (None, pytest.approx(39))


def test_the_best_plan_stays() -> None:
    assert judged(in_force_for(problem_of(world())), world()) == Keep()


@pytest.mark.parametrize(("mbps", "reroutes"), [(5.45, False), (5.0, True)])
def test_the_gain_must_exceed_the_policys(mbps: float, reroutes: bool) -> None:
    """The server needs 23 + 800 / mbps ms, the pi 165: a gain of 5 % begins at 5.33 Mbps."""
    decision = judged(in_force_for(problem_of(world())), world(link("pi", "server", mbps)))
    assert isinstance(decision, Reroute if reroutes else Keep)


def test_no_reroute_before_the_cooldown_is_over() -> None:
    present, snapshot = in_force_for(problem_of(world())), world(link("pi", "server", 1.0))
    held = judged(present, snapshot, (left(99.0),))
    assert isinstance(held, Hold) and held.until_s == 101.0 and held.cause.cause is RerouteCause.LINK_CHANGED
    assert isinstance(judged(present, snapshot, (left(98.0),)), Reroute)


def test_a_device_in_use_that_is_gone_is_left_at_once() -> None:
    decision = judged(in_force_for(problem_of(world())), world(presence("server", State.OFFLINE)), (left(100.0),))
    assert isinstance(decision, Reroute) and decision.cause.cause is RerouteCause.DEVICE_LOST
    assert decision.cost_before is None and decision.reason == "device server is gone: pi[0,5), 165 ms"


def test_a_link_in_use_that_is_dead_is_left_at_once() -> None:
    decision = judged(in_force_for(problem_of(world())), world(link("pi", "server", 0.0)), (left(100.0),))
    assert isinstance(decision, Reroute) and decision.cause.cause is RerouteCause.LINK_CHANGED
    assert decision.cost_before is None and "no link from pi to server" in decision.reason


def test_a_missed_deadline_is_worth_any_gain_but_waits_for_the_cooldown() -> None:
    policy = PolicySet("camera", Policy(deadline_ms=166.0, min_gain=0.9))
    present = in_force_for(problem_of(world(policy)))
    snapshot = world(policy, link("pi", "server", 5.5))
    assert isinstance(judged(present, snapshot), Reroute)
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
    assert isinstance(decision, Reroute) and decision.cause.cause is RerouteCause.POLICY_CHANGED


def test_what_only_the_planner_obeys_needs_none() -> None:
    changed = world(PolicySet("camera", Policy(min_gain=0.2, cooldown_ms=1.0)))
    assert judged(in_force_for(problem_of(world())), changed) == Keep()


def test_a_policy_that_forbids_the_present_route_moves_it_at_once() -> None:
    denied = world(PolicySet("camera", Policy(devices=DeviceRule(deny=("server",)))))
    decision = judged(in_force_for(problem_of(world())), denied, (left(100.0),))
    assert isinstance(decision, Reroute) and decision.cause.cause is RerouteCause.POLICY_CHANGED
    assert "does not allow device server" in decision.reason


def test_a_new_objective_takes_effect_at_once() -> None:
    energy = world(
        presence("pi", power_active_w=0.1), presence("server", power_active_w=90.0),
        PolicySet("camera", Policy(objective=Objective.ENERGY)),
    )  # fmt: skip
    decision = judged(in_force_for(problem_of(world())), energy, (left(100.0),))
    assert isinstance(decision, Reroute) and decision.cause.cause is RerouteCause.POLICY_CHANGED
    assert decision.reason.endswith("J")


def test_a_strategy_chosen_by_name_takes_effect_even_for_the_worse() -> None:
    before = problem_of(world())
    decision = judged(in_force_for(before), world(PolicySet("camera", Policy(strategy="local_only"))))
    assert isinstance(decision, Reroute) and decision.cause.cause is RerouteCause.POLICY_CHANGED
    assert decision.cost_before is not None and decision.cost_after > decision.cost_before


def test_a_burst_of_another_size_needs_a_new_plan() -> None:
    burst = PolicySet("camera", Policy(objective=Objective.MAKESPAN))
    present = in_force_for(problem_of(world(declaration(jobs=6), burst)))
    decision = judged(present, world(declaration(jobs=9), burst))
    assert isinstance(decision, Reroute) and decision.reason.startswith("a burst has 9 requests now: ")


def test_a_new_model_or_declaration_needs_a_new_plan() -> None:
    other = manifest_of("b" * 64)
    changed = world(other, profile("pi", (1.0,) * 5, "b" * 64))
    decision = judged(in_force_for(problem_of(world())), changed, (left(100.0),))
    assert isinstance(decision, Reroute) and decision.cause.cause is RerouteCause.STREAM_CHANGED
    live = judged(in_force_for(problem_of(world())), world(), (left(100.0),), live=True)
    assert isinstance(live, Reroute) and live.cause.cause is RerouteCause.STREAM_CHANGED


def test_after_the_planners_start_a_plan_stays_if_it_is_good() -> None:
    present = replace(in_force_for(problem_of(world())), problem=None)
    assert judged(present, world()) == Keep()
    assert isinstance(judged(present, world(link("pi", "server", 1.0))), Reroute)


def test_returning_needs_twice_the_gain_each_time() -> None:
    policy = Policy(min_gain=0.05)
    assert required_gain(policy, PI, (), 100.0) == 0.05
    assert required_gain(policy, SERVER, (left(99.0),), 100.0) == 0.05
    assert required_gain(policy, PI, (left(99.0),), 100.0) == 0.1
    assert required_gain(policy, PI, (left(98.0, returned=True), left(99.0, returned=True)), 100.0) == 0.4
    assert required_gain(policy, PI, (left(99.0, returned=True),) * 9, 100.0) == 0.5
    assert required_gain(policy, PI, (left(99.0),), 100.0 + DAMPING_WINDOW_S) == 0.05
    assert required_gain(Policy(min_gain=0.0), PI, (left(99.0),), 100.0) == 0.02
    assert required_gain(Policy(min_gain=0.9), PI, (left(99.0),), 100.0) == 0.9


def test_departures_are_forgotten_after_the_window() -> None:
    kept = remember((left(10.0), left(50.0)), left(100.0))
    assert [each.at_s for each in kept] == [50.0, 100.0]
    assert is_return(PI, kept, 110.0) and not is_return(SERVER, kept, 110.0)


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
        if isinstance(decide(present, candidate, problem, snapshot, departures, now_s), Reroute):
            returned = is_return(candidate.routes, departures, now_s)
            departures = remember(departures, Departure(now_s, present.routes, returned))
            present = in_force_for(problem, candidate.routes)
            count += 1
    return count


@settings(deadline=None)
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
        judged(in_force_for(problem_of(world())), world(link("pi", "server", 1.0)), departures, 110.0), Reroute
    )
