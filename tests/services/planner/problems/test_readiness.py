"""Preconditions of planning a stream."""

from collections.abc import Collection
from typing import Any

import pytest

from services.planner.problems.profile_requests import missing_profiles
from services.planner.problems.readiness import missing, profile_fault
from services.planner.problems.snapshot import FleetSnapshot, PolicySet
from shared.messages.devices import REFUSED_MS, BlockRefusal, Profile, State
from shared.messages.models import OperatorSet
from shared.policy import DeviceRule, Policy
from tests.support.planner_fleet import manifest_of
from tests.support.planner_world import PI_MS, after, declaration, presence, problem_of, profile, world


def waiting(snapshot: FleetSnapshot, measuring: Collection[str] = ()) -> str:
    found = missing(snapshot, "camera", measuring)
    return "" if found is None else "; ".join(found.reasons)


def test_nothing_is_missing() -> None:
    assert missing(world(), "camera") is None


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        (world(presence("pi", State.OFFLINE)), "source device pi is offline"),
        (world(declaration(source="moon")), "source device moon is unknown"),
        (world(declaration(model="other")), "model other is not in the library"),
        (
            world(profile("pi", (1.0,)), presence("server", State.OFFLINE)),
            "no device can run model net yet (pi: its profile has 1 blocks, the model 5; server: offline)",
        ),
        (
            world(PolicySet("camera", Policy(devices=DeviceRule(allow=("moon",))))),
            "no device can run model net yet (the policy allows none)",
        ),
    ],
)
def test_every_missing_precondition_is_named(snapshot: FleetSnapshot, reason: str) -> None:
    assert waiting(snapshot) == reason


def test_a_first_plan_waits_for_devices_that_measure() -> None:
    snapshot = world(presence("jetson"))
    assert waiting(snapshot, ["jetson"]) == "device jetson is measuring model net"
    denied = after(snapshot, PolicySet("camera", Policy(devices=DeviceRule(deny=("jetson",)))))
    assert waiting(denied, ["jetson"]) == ""


def refusing(device: str, start: int, stop: int, reason: str) -> Profile:
    """Return a profile of the model's five blocks that refuses some."""
    times_ms = tuple(REFUSED_MS if start <= block < stop else 1.0 for block in range(5))
    refusal = BlockRefusal(start=start, stop=stop, reason=reason)
    return profile(device, times_ms).model_copy(update={"refusals": (refusal,)})


def test_the_reasons_of_devices_that_refuse_every_block_are_given() -> None:
    snapshot = world(refusing("pi", 1, 5, "too little memory"), refusing("server", 0, 5, "no operator MyOp"))
    assert waiting(snapshot) == "no device can run model net (pi: too little memory; server: no operator MyOp)"


def test_waiting_is_of_no_use_when_every_device_has_refused() -> None:
    refused = world(refusing("pi", 1, 5, "small"), refusing("server", 0, 5, "old"))
    found = missing(refused, "camera")
    assert found is not None
    assert found.is_refused
    for change in (presence("jetson"), presence("pi", State.OFFLINE), declaration(source="moon")):
        found = missing(after(refused, change), "camera")
        assert found is not None
        assert not found.is_refused


def test_a_device_that_refuses_some_blocks_runs_the_others() -> None:
    assert waiting(world(refusing("pi", 2, 5, "too little memory"))) == ""
    assert waiting(world(refusing("pi", 2, 5, "small"), refusing("server", 0, 2, "old"))) == ""


def test_a_block_that_every_device_refuses_is_named() -> None:
    snapshot = world(refusing("pi", 2, 5, "too little memory"), refusing("server", 4, 5, "no operator MyOp"))
    reason = waiting(snapshot)
    assert reason.startswith("no device can run block 4 (")
    assert reason.endswith("of model net (pi: too little memory; server: no operator MyOp)")


def test_a_device_whose_engine_is_too_old_is_neither_asked_nor_planned() -> None:
    needy = manifest_of().model_copy(update={"opsets": (OperatorSet(domain="", version=21),)})
    old: dict[str, Any] = {"runtime": "onnxruntime 1.14.0", "opset": 18}
    snapshot = world(needy, presence("jetson", **old), presence("server", **old))
    reason = "the model needs opset 21, and onnxruntime 1.14.0 runs up to opset 18"
    assert profile_fault(snapshot.device("jetson"), needy) == reason
    # The profile of the server is of an engine that it does not have any more.
    assert profile_fault(snapshot.device("server"), needy) == reason
    assert missing(snapshot, "camera") is None
    assert missing_profiles(snapshot) == {}
    assert {name for name, device in problem_of(snapshot).devices.items() if device.block_ms} == {"pi"}
    alone = after(snapshot, presence("pi", **old))
    assert waiting(alone) == f"no device can run model net (jetson: {reason}; pi: {reason}; server: {reason})"


def test_a_block_whose_operators_an_engine_lacks_is_planned_elsewhere() -> None:
    blocks = tuple(
        block.model_copy(update={"domains": ("com.microsoft",) if index == 2 else ()})
        for index, block in enumerate(manifest_of().blocks)
    )
    opsets = (OperatorSet(domain="com.microsoft", version=1),)
    needy = manifest_of().model_copy(update={"blocks": blocks, "opsets": opsets})
    snapshot = world(needy, presence("pi", domains=("ai.onnx.ml",)))
    (times_ms,) = problem_of(snapshot).devices["pi"].block_ms.values()
    assert times_ms == (*PI_MS[:2], REFUSED_MS, *PI_MS[3:])
