"""The best single device and the best fixed plan."""

from dataclasses import replace

import pytest

from services.cli.testbed.baselines import find_baselines
from shared.policy import DeviceRule, Policy
from tests.support.run_records import BASIS, CALIBRATION, DEAD, SLOW, USUAL


def test_the_best_single_device_is_chosen_for_each_phase_and_the_fixed_plan_for_all() -> None:
    found = find_baselines(BASIS, [USUAL, SLOW, DEAD])
    assert [plan.route for plan in found.single] == ["server[0,3)", "camera[0,3)", "camera[0,3)"]
    assert [plan.predicted_ms for plan in found.single] == pytest.approx([33, 100, 100])
    assert {plan.route for plan in found.fixed} == {"camera[0,3)"}
    assert {plan.route for plan in find_baselines(BASIS, [USUAL, SLOW]).fixed} == {"camera[0,2) > server[2,3)"}


def test_other_plans_keep_the_policy_and_send_in_the_best_encoding_that_it_allows() -> None:
    stays = replace(BASIS, policy=Policy(raw_input_stays_on_source=True), calibration=CALIBRATION)
    found = find_baselines(stays, [USUAL])
    assert [plan.route for plan in found.single] == ["camera[0,3)"]
    (fixed,) = found.fixed
    assert fixed.route == "camera[0,1) uint8+zstd > server[1,3)"
    # prepare, to encode (ten times as slow as the server), latency and transfer, to decode, the rest and its overhead
    assert fixed.predicted_ms == pytest.approx(20 + 5 + 2 + 8 + 1 + 9)
    alone = replace(stays, policy=Policy(raw_input_stays_on_source=True, max_devices=1))
    assert {plan.route for plan in find_baselines(alone, [USUAL]).fixed} == {"camera[0,3)"}
    raw = replace(stays, policy=Policy(raw_input_stays_on_source=True, codec="raw"))
    assert {plan.route for plan in find_baselines(raw, [USUAL]).fixed} == {"camera[0,2) > server[2,3)"}
    nowhere = replace(stays, policy=Policy(devices=DeviceRule(allow=("server",)), raw_input_stays_on_source=True))
    assert [plan.predicted_ms for plan in find_baselines(nowhere, [USUAL]).single] == [None]
