"""When a source leaves the committed route by itself."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.source.local_switching import CONFIRM_S, RouteSwitch, RouteSwitcher
from shared.link_time import WEAK_CONFIRMATIONS
from shared.messages.alternatives import Alternatives, Threshold, ThresholdQuantity
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage

SIZE = 100_000
"""16 ms at 50 Mbps, 80 ms at 10 Mbps, 160 ms at 5 Mbps."""


def route(device: str) -> PlanRoute:
    return PlanRoute(stages=(PlanStage(start=0, stop=5, device=device),), predicted_ms=50.0)


REMOTE, LOCAL = route("server"), route("me")


def plan(epoch: int = 1, chosen: PlanRoute = REMOTE) -> CommittedPlan:
    return CommittedPlan(stream="s", epoch=epoch, model="0" * 64, source="me", strategy="auto", routes=(chosen,))


def alternatives(epoch: int = 1, cooldown_ms: float = 0.0, **changes: Any) -> Alternatives:
    fields: dict[str, Any] = {
        "quantity": ThresholdQuantity.BANDWIDTH,
        "device": "me",
        "target": "server",
        "value": 50.0,
        "latency_ms": 2.0,
        "low": 11.0,
        "high": 1000.0,
        "leave_below": 10.0,
        "below": LOCAL,
    }
    threshold = Threshold(**(fields | changes))
    return Alternatives(stream="s", epoch=epoch, cooldown_ms=cooldown_ms, thresholds=(threshold,))


class TimedReflex(RouteSwitcher):
    """Measurements for which a test tells no time come a second after the one before."""

    clock_s = 0.0

    def at(self, now_s: float | None) -> float:
        self.clock_s = self.clock_s + 1.0 if now_s is None else now_s
        return self.clock_s


def reflex(**changes: Any) -> TimedReflex:
    made = TimedReflex("me")
    made.committed(plan(), 0.0)
    made.learn(alternatives(**changes))
    return made


def send(
    made: TimedReflex, mbps: float, now_s: float | None = None, *, finished: bool = True, target: str = "server"
) -> Any:
    elapsed_ms = 2.0 + 8 * SIZE / (1000 * mbps)
    return made.transferred(target, SIZE, elapsed_ms, finished=finished, now_s=made.at(now_s))


def test_two_slow_transfers_in_a_row_switch_at_once() -> None:
    made = reflex()
    assert send(made, 4.0) is None
    switch = send(made, 4.0)
    assert switch == RouteSwitch((LOCAL,), switch.text)
    assert switch.text == "link me->server has 4 Mbps, worse than 10: switched to me[0,5)"
    assert made.routes == (LOCAL,)


def test_transfers_that_overlap_all_the_time_still_switch() -> None:
    made = reflex()
    assert [send(made, 4.0, 1.0 + 0.15 * number) is not None for number in range(3)] == [False, False, True]


def test_one_outlier_changes_nothing() -> None:
    made = reflex()
    for _ in range(20):
        assert send(made, 1.0) is None
        assert send(made, 50.0) is None
    assert made.routes == (REMOTE,)


def test_an_overdue_transfer_is_enough() -> None:
    made = reflex()
    switch = send(made, 4.0, finished=False)
    assert switch is not None
    assert "less than 4 Mbps" in switch.text


def test_an_overdue_transfer_that_should_have_been_quick_may_have_met_a_hiccup() -> None:
    made = reflex()
    assert made.transferred("server", 5_000, 300.0, finished=False, now_s=1.0) is None
    assert made.transferred("server", 5_000, 400.0, finished=True, now_s=1.1) is None, "the same one, which has come"
    assert made.transferred("server", 5_000, 300.0, finished=False, now_s=1.2) is None, "it met the same hiccup"
    for number in range(1, WEAK_CONFIRMATIONS):
        switch = made.transferred("server", 5_000, 300.0, finished=False, now_s=1.2 + 0.4 * number)
        assert (switch is not None) == (number == WEAK_CONFIRMATIONS - 1)


def test_a_link_that_has_become_faster_switches_too() -> None:
    made = reflex(leave_below=None, below=None, leave_above=80.0, above=LOCAL)
    assert send(made, 99.0) is None
    switch = send(made, 99.0)
    assert switch is not None
    assert "better than 80" in switch.text


def test_what_may_pass_in_the_burst_of_a_token_bucket_needs_more_confirmations() -> None:
    made = reflex(leave_below=None, below=None, leave_above=80.0, above=LOCAL)
    for _ in range(WEAK_CONFIRMATIONS - 1):
        assert send(made, 500.0) is None
    assert send(made, 500.0) is not None


def test_a_transfer_that_waited_for_a_busy_processor_is_no_slow_link() -> None:
    made = reflex()
    for number in range(20):
        slow_ms = 300.0
        switch = made.transferred(
            "server", SIZE, slow_ms, finished=True, now_s=1.0 + number, processing_ms=slow_ms - 10.0
        )
        assert switch is None
    assert made.transferred("server", SIZE, 300.0, finished=True, now_s=30.0) is None
    assert made.transferred("server", SIZE, 300.0, finished=True, now_s=31.0) is not None


def test_within_the_range_and_within_noise_nothing_happens() -> None:
    made = reflex()
    for mbps in (10.5, 12.0, 50.0, 900.0, 9.9) * 20:
        assert send(made, mbps) is None


def test_other_links_and_thresholds_of_other_plans_mean_nothing() -> None:
    made = reflex()
    assert all(send(made, 1.0, target="helper") is None for _ in range(5))
    made.learn(alternatives(epoch=2))
    assert all(send(made, 1.0) is None for _ in range(5))


def test_the_planner_confirms_with_its_next_plan() -> None:
    made = reflex()
    send(made, 4.0, finished=False)
    made.committed(plan(), 2.0)
    assert made.routes == (LOCAL,)
    made.committed(plan(2, LOCAL), 3.0)
    assert made.routes == (LOCAL,)
    assert made.tick(1000.0) is None


def test_without_confirmation_the_source_goes_back_and_stays() -> None:
    made = reflex(cooldown_ms=500.0)
    send(made, 4.0, finished=False)
    assert made.tick(1.0 + CONFIRM_S + 0.4) is None
    back = made.tick(1.0 + CONFIRM_S + 0.6)
    assert back is not None
    assert back.routes == (REMOTE,)
    assert all(send(made, 1.0, now_s=100.0) is None for _ in range(5))
    made.committed(plan(2), 200.0)
    made.learn(alternatives(epoch=2))
    assert send(made, 4.0, now_s=201.0, finished=False) is not None


def test_the_cooldown_of_the_policy_holds_for_the_source_as_well() -> None:
    made = reflex(cooldown_ms=5000.0)
    assert all(send(made, 4.0, now_s=4.0) is None for _ in range(3))
    assert send(made, 4.0, now_s=5.0) is not None


def test_a_lost_device_ends_what_leads_over_it() -> None:
    helper = route("helper")
    made = reflex(below=helper)
    send(made, 4.0, finished=False)
    assert made.lost("server") is None
    back = made.lost("helper")
    assert back is not None
    assert made.routes == (REMOTE,)


IDLE_MS = 40.0
"""Of a segment of the source."""


def loaded(*, sharing: float = 1.0, **changes: Any) -> Threshold:
    """Return the threshold of the source's own load: beyond 2 the server takes over."""
    fields: dict[str, Any] = {
        "quantity": ThresholdQuantity.LOAD,
        "device": "me",
        "value": sharing,
        "sharing": sharing,
        "low": 0.5,
        "high": 1.9,
        "leave_above": 2.0,
        "above": REMOTE,
    }
    return Threshold(**(fields | changes))


def local_reflex(*thresholds: Threshold, cooldown_ms: float = 0.0) -> TimedReflex:
    """Return a source that computes itself."""
    made = TimedReflex("me")
    made.committed(plan(chosen=LOCAL), 0.0)
    made.learn(Alternatives(stream="s", epoch=1, cooldown_ms=cooldown_ms, thresholds=thresholds))
    return made


def compute(made: TimedReflex, load: float, now_s: float | None = None) -> RouteSwitch | None:
    return made.computed(load * IDLE_MS, IDLE_MS, now_s=made.at(now_s))


def test_two_slow_segments_in_a_row_switch_at_once() -> None:
    made = local_reflex(loaded())
    assert compute(made, 3.0) is None
    switch = compute(made, 3.0)
    assert switch is not None
    assert switch.routes == (REMOTE,)
    assert switch.text == "load factor of me is 3, worse than 2: switched to server[0,5)"


def test_one_slow_segment_among_others_changes_nothing() -> None:
    made = local_reflex(loaded())
    for _ in range(20):
        assert compute(made, 30.0) is None
        assert compute(made, 1.0) is None


def test_a_device_that_has_become_idle_switches_too() -> None:
    made = local_reflex(loaded(value=3.0, leave_above=None, above=None, leave_below=1.5, below=REMOTE))
    assert compute(made, 1.0) is None
    switch = compute(made, 1.0)
    assert switch is not None
    assert "load factor of me is 1, better than 1.5" in switch.text


def test_segments_within_the_range_or_within_noise_or_too_small_to_tell_change_nothing() -> None:
    made = local_reflex(loaded(leave_below=0.5, below=REMOTE))
    for load in (0.49, 0.6, 1.0, 1.9, 2.03) * 20:
        assert compute(made, load) is None
    for _ in range(20):
        assert made.computed(1.0, 0.1, now_s=1.0) is None
        assert made.computed(0.0, 0.1, now_s=1.0) is None


def test_what_others_compute_counts_as_load() -> None:
    """The planner takes the device to be three times as slow because others keep it busy; a segment does not see it."""
    limits = {"value": 3.0, "leave_below": 2.0, "below": REMOTE, "leave_above": 6.0, "above": REMOTE}
    calm = local_reflex(loaded(sharing=3.0, **limits))
    assert all(compute(calm, 1.0) is None for _ in range(5))
    busy = local_reflex(loaded(sharing=3.0, **limits))
    assert compute(busy, 2.5) is None
    assert compute(busy, 2.5) is not None


def test_the_load_of_another_device_or_another_plan_means_nothing() -> None:
    made = local_reflex(loaded(device="helper"))
    assert all(compute(made, 5.0) is None for _ in range(5))
    made.learn(Alternatives(stream="s", epoch=2, thresholds=(loaded(),)))
    assert all(compute(made, 5.0) is None for _ in range(5))


def test_a_switch_for_load_keeps_the_cooldown_and_is_taken_back_if_it_is_not_confirmed() -> None:
    made = local_reflex(loaded(), cooldown_ms=5000.0)
    assert all(compute(made, 3.0, 4.0) is None for _ in range(3))
    assert compute(made, 3.0, 5.0) is not None
    assert made.tick(5.0 + CONFIRM_S + 4.9) is None
    back = made.tick(5.0 + CONFIRM_S + 5.1)
    assert back is not None
    assert back.routes == (LOCAL,)
    assert all(compute(made, 3.0, 100.0) is None for _ in range(5))


HELPER = route("helper")


def twofold_reflex(*, above: PlanRoute, cooldown_ms: float = 0.0) -> TimedReflex:
    """Return a source that computes and sends: a slow link leads to itself, its load to `above`."""
    made = TimedReflex("me")
    made.committed(plan(chosen=HELPER), 0.0)
    thresholds = (alternatives(below=LOCAL).thresholds[0], loaded(above=above))
    made.learn(Alternatives(stream="s", epoch=1, cooldown_ms=cooldown_ms, thresholds=thresholds))
    return made


@pytest.mark.parametrize("order", [(compute, send), (send, compute)])
def test_two_thresholds_that_lead_to_different_routes_are_left_to_the_planner(order: Any) -> None:
    made = twofold_reflex(above=REMOTE)
    for number in range(5):
        for measure in order:
            assert measure(made, 3.0, float(number)) is None
    assert made.routes == (HELPER,)


def test_one_of_two_thresholds_is_enough_as_soon_as_the_other_is_not_crossed() -> None:
    made = twofold_reflex(above=REMOTE)
    for _ in range(3):
        assert compute(made, 3.0) is None
        assert send(made, 4.0) is None
    assert compute(made, 1.0) is None
    switch = send(made, 4.0)
    assert switch is not None
    assert switch.routes == (LOCAL,)
    assert all(compute(made, 3.0) is None for _ in range(5)), "once per plan"


def test_two_thresholds_that_lead_to_the_same_route_agree() -> None:
    made = twofold_reflex(above=LOCAL)
    assert send(made, 4.0) is None
    assert compute(made, 3.0) is None
    assert compute(made, 3.0) is not None
    assert made.routes == (LOCAL,)


def test_a_crossing_that_was_long_ago_disputes_nothing() -> None:
    made = twofold_reflex(above=REMOTE, cooldown_ms=3000.0)
    assert send(made, 4.0, 1.0) is None
    assert send(made, 4.0, 1.1) is None
    assert compute(made, 3.0, 3.0) is None
    assert compute(made, 3.0, 3.1) is None
    assert compute(made, 3.0, 1.2 + CONFIRM_S) is not None
    assert made.routes == (REMOTE,)


@given(st.integers(0, 10_000), st.sampled_from([1.0, 1.5, 1.9]))
def test_noise_of_computing_within_the_range_never_switches(seed: int, load: float) -> None:
    """Every tenth segment meets a hiccup of up to a second, but no two in a row."""
    generator, made = random.Random(seed), local_reflex(loaded(leave_below=0.9, below=REMOTE))
    for number in range(200):
        measured_ms = load * IDLE_MS + generator.uniform(0.0, 1.4)
        hiccup_ms = generator.uniform(0.0, 1000.0) if number % 10 == 0 else 0.0
        assert made.computed(measured_ms + hiccup_ms, IDLE_MS, now_s=1.0 + number) is None


@given(st.integers(0, 10_000), st.sampled_from([12.0, 20.0, 50.0]))
def test_noise_within_the_range_never_switches(seed: int, mbps: float) -> None:
    """Every tenth transfer meets a hiccup of up to a second, but no two in a row."""
    generator, made = random.Random(seed), reflex()
    for number in range(200):
        elapsed_ms = 2.0 + 8 * SIZE / (1000 * mbps) + generator.uniform(0.0, 1.4)
        hiccup_ms = generator.uniform(0.0, 1000.0) if number % 10 == 0 else 0.0
        assert made.transferred("server", SIZE, elapsed_ms + hiccup_ms, finished=True, now_s=1.0 + number) is None


@pytest.mark.parametrize("seed", range(20))
def test_strong_noise_around_the_threshold_switches_once_per_plan_and_goes_back_once(seed: int) -> None:
    generator, made = random.Random(seed), reflex()
    changes = 0
    for number in range(2000):
        mbps = 10.0 * generator.lognormvariate(0.0, 0.5)
        changes += send(made, mbps, now_s=1.0 + number / 10) is not None
        changes += made.tick(1.0 + number / 10) is not None
    assert changes == 2
