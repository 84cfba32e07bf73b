from dataclasses import replace

import pytest

from planning.problem.plan import Constraint
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.search.infeasibility import diagnose, relaxations
from shared.policy import DeviceRule, Policy

PROBLEM = Problem(
    {"m": Model(1000, (Block("x", 1000, parameter_bytes=10), Block("y", 0, parameter_bytes=10)))},
    {"a": Device({"m": (10.0, 10.0)}), "b": Device({"m": (1.0, 1.0)})},
    (Link("a", "b", 8.0),),
    (Stream("s", "m", "a"),),
)


def _constraints(problem: Problem) -> list[Constraint]:
    return [violation.constraint for violation in diagnose(problem, problem.streams[0], 0.1)]


def test_nothing_is_wrong_with_what_can_be_planned() -> None:
    assert _constraints(PROBLEM) == []


def test_missed_deadline_is_measured_within_the_other_constraints() -> None:
    policy = Policy(deadline_ms=5.0, devices=DeviceRule(deny=("b",)))
    (violation,) = diagnose(replace(PROBLEM, policy=policy), PROBLEM.streams[0], 0.1)
    assert (violation.constraint, violation.limit, violation.value) == (Constraint.DEADLINE, 5.0, 20.0)


def test_the_one_constraint_that_stands_in_the_way_is_named() -> None:
    sink = replace(PROBLEM, streams=(Stream("s", "m", "a", sink="b"),))
    assert _constraints(replace(PROBLEM, policy=Policy(devices=DeviceRule(allow=())))) == [Constraint.DEVICES]
    small = {name: replace(device, memory_bytes=5) for name, device in PROBLEM.devices.items()}
    assert set(_constraints(replace(PROBLEM, devices=small))) == {Constraint.MEMORY}
    assert _constraints(sink) == []


@pytest.mark.parametrize(
    ("rule", "advice"),
    [
        (DeviceRule(deny=("a", "b")), "change devices.deny so"),
        (DeviceRule(allow=()), "change devices.allow so"),
        (DeviceRule(allow=("a",), deny=("a",)), "change devices.allow or devices.deny so"),
    ],
)
def test_a_policy_that_leaves_no_device_is_told_in_one_reason(rule: DeviceRule, advice: str) -> None:
    (violation,) = diagnose(replace(PROBLEM, policy=Policy(devices=rule)), PROBLEM.streams[0], 0.1)
    assert violation.constraint is Constraint.DEVICES
    assert "none of the devices that can run the model (a, b): " + advice in violation.message


def test_no_device_and_no_link() -> None:
    unable = replace(PROBLEM, devices={"a": Device(), "b": Device()})
    (violation,) = diagnose(unable, PROBLEM.streams[0], 0.1)
    assert violation.message == "stream s: no device can run model m"
    apart = replace(PROBLEM, devices={**PROBLEM.devices, "a": Device()}, links=())
    (violation,) = diagnose(apart, PROBLEM.streams[0], 0.1)
    assert violation.message == "stream s: none of b can be reached from a"


@pytest.mark.parametrize(
    ("policy", "constraint"),
    [
        (Policy(devices=DeviceRule(deny=("b",))), Constraint.DEVICES),
        (Policy(raw_input_stays_on_source=True), Constraint.RAW_INPUT),
        (Policy(max_devices=1), Constraint.MAX_DEVICES),
    ],
)
def test_relaxations_lift_one_constraint_each(policy: Policy, constraint: Constraint) -> None:
    found = relaxations(replace(PROBLEM, policy=policy))
    assert [(lifted, relaxed.policy) for lifted, relaxed in found] == [(constraint, Policy())]
